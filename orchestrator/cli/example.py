"""Where the examples lie that a source checkout holds."""

from pathlib import Path

import orchestrator

EXAMPLES = Path(orchestrator.__file__).parents[1] / "examples"
SAMPLE = EXAMPLES / "sample_package"
FLAWED = EXAMPLES / "flawed_package"
