"""``python -m service``: the service with the settings of the environment."""

import sys

from service.run import main

sys.exit(main())
