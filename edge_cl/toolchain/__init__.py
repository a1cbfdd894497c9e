"""Making extractors: training, quantising, importing.

It runs on a build machine, never on a device: what serves never imports it.
"""
