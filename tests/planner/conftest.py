import sys
from pathlib import Path

# The toy cluster is shared by several test folders, which are no packages.
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
