"""Run by the tools' Python: renders a chart with the values on stdin, and checks what comes out.

Prints JSON: {"lint": [message], "documents": [manifest], "faults": [what Kubernetes' schema refuses], "error": text}.
`python render_chart.py CHART KUBERNETES_VERSION`.
"""

import json
import sys
from typing import Any

import helm_python
import kubernetes_validate
import yaml

_SEVERE = 2


def main() -> None:
    """Print the outcome."""
    chart, version = sys.argv[1:]
    outcome: dict[str, Any] = {"lint": [], "documents": [], "faults": [], "error": ""}
    outcome["lint"] = [
        one["error"] for one in helm_python.lint(chart)["messages"] if one["severity"] >= _SEVERE
    ]
    try:
        with helm_python.Chart.load(chart) as loaded:
            values = json.load(sys.stdin)
            loaded.validate_schema(values)
            rendered = loaded.render(values, name="demo", namespace="prod")
    except helm_python.HelmError as error:
        outcome["error"] = str(error)
        rendered = {}
    for name, text in rendered.items():
        if name.endswith(".yaml"):
            outcome["documents"] += filter(None, yaml.safe_load_all(text))
    for document in outcome["documents"]:
        # KEDA's kinds are not Kubernetes' own
        if not document["apiVersion"].startswith("keda.sh/"):
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                outcome["faults"].append(f"{document['kind']} {document['metadata']['name']}: {error}")
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()
