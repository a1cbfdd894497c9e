"""A bridge between an MQTT broker and a running service, with Home Assistant discovery.

It is a client of the HTTP service in a process of its own: `edge-cl mqtt`.
"""
