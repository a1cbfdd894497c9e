"""The subcommands of ``edge-cl``, one module each, imported when it is called."""
