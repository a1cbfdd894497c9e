"""The service: teach and ask a learner over HTTP; what it acknowledged survives.

::

    request ─▶ bodies ─▶ extractor ─▶ worker ─▶ journal (commit) ─▶ learner ─▶ published ─▶ answer
                                        │                                        │
                                        └─ snapshots, off the request path       └─ predictions

``config`` settings · ``operations`` what is journaled · ``journal`` SQLite · ``snapshots`` saved
learners · ``store`` one learner's folder, recovery · ``worker`` the single writer · ``registry``
all learners · ``bodies`` what a request may carry · ``errors`` problem+json · ``routes`` one file
per resource · ``app`` the wiring · ``run`` the process.
"""
