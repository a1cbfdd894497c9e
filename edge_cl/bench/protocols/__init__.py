"""The protocols of published numbers, one file each: ``run(method, seed, quick) -> dict``.

``python -m edge_cl.bench.protocols`` runs them and keeps one JSON file for every run, so
that an interrupted series goes on where it stopped.
"""
