import sys

from orchestra_router.cli import main

sys.exit(main())
