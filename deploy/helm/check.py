# SPDX-License-Identifier: EUPL-1.2
"""Lints and renders the chart and reads what comes out. Needs helm-python-sdk and PyYAML from PyPI:

    pip install helm-python-sdk pyyaml && python3 deploy/helm/check.py
"""
import pathlib
import sys

import helm_python as helm
import yaml

CHART = pathlib.Path(__file__).parent / "einmal"


def main() -> None:
    problems = helm.lint(str(CHART))
    print("lint:", problems)
    chart = helm.Chart.load(str(CHART))
    rendered = chart.render({"monitoring": {"podMonitor": True}})
    texts = rendered.values() if isinstance(rendered, dict) else [rendered]
    found = [doc for text in texts for doc in yaml.safe_load_all(text) if doc]
    kinds = sorted(doc["kind"] for doc in found)
    print({kind: kinds.count(kind) for kind in dict.fromkeys(kinds)})
    for doc in (doc for doc in found if doc["kind"] == "StatefulSet"):
        pod = doc["spec"]["template"]["spec"]
        container = pod["containers"][0]
        own = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] and own["readOnlyRootFilesystem"], doc
        assert own["capabilities"]["drop"] == ["ALL"] and not own["allowPrivilegeEscalation"], doc
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {claim["metadata"]["name"] for claim in doc["spec"]["volumeClaimTemplates"]}
        assert claimed | {"files", "tmp"} == mounted, doc
    policies = {doc["metadata"]["name"] for doc in found if doc["kind"] == "NetworkPolicy"}
    programs = {doc["metadata"]["name"] for doc in found if doc["kind"] == "StatefulSet"}
    assert policies == programs, policies ^ programs
    print("the chart is good:", len(found), "documents")


if __name__ == "__main__":
    sys.exit(main())
