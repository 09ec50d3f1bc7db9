"""Checks what kustomize renders: against the API schemas of Kubernetes, and against our own rules.

    manifests.py KUSTOMIZE ALERTS FOLDER...

ALERTS is the file of Prometheus rules that every PrometheusRule has to be made of. The schemas are
those of the newest Kubernetes that the package kubernetes-validate ships. Prints one line for each
thing that is wrong, and ends with 1 if there is any.
"""

import subprocess
import sys

import kubernetes_validate
import yaml

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
# Kinds of the Prometheus operator: not Kubernetes's own, so no schema of it knows them.
OPERATOR = {
    "PodMonitor": {"selector", "podMetricsEndpoints"},
    "ServiceMonitor": {"selector", "endpoints"},
    "PrometheusRule": {"groups"},
}


def render(kustomize, folder):
    run = subprocess.run([kustomize, "build", folder], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{folder}: {run.stderr}")
    return [it for it in yaml.safe_load_all(run.stdout) if it]


def name_of(item):
    return f"{item['kind']}/{item['metadata']['name']}"


def schema(item, version):
    """The item against Kubernetes's schema; unknown fields are wrong, too."""
    if item["apiVersion"] == "monitoring.coreos.com/v1":
        missing = OPERATOR[item["kind"]] - set(item["spec"])
        return [f"lacks spec.{field}" for field in sorted(missing)]
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(str(part) for part in error.path)}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def pod_of(item):
    spec = item["spec"]
    if item["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]


def policy(item):
    """What the restricted profile of the pod security standards asks for, and a bit more."""
    pod = pod_of(item)["spec"]
    security = pod.get("securityContext", {})
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token of its service account"
    if pod.get("serviceAccountName", "default") == "default":
        yield "runs as the default service account"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"has {field}"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a path of the host"
    for container in pod.get("initContainers", []) + pod["containers"]:
        for complaint in container_policy(item["kind"], container, security):
            yield f"container {container['name']}: {complaint}"


def container_policy(kind, container, pod_security):
    security = container.get("securityContext", {})
    if security.get("runAsNonRoot", pod_security.get("runAsNonRoot")) is not True:
        yield "may run as root"
    if not pod_security.get("runAsUser"):
        yield "has no user of its own"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write its root file system"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    for part in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            if resource not in resources.get(part, {}):
                yield f"has no {part} of {resource}"
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        yield f"image {container['image']} has no tag that stays"
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for probe in ("livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"has no {probe}"
    # A later entry of one name silently wins.
    names = [variable["name"] for variable in container.get("env", [])]
    for name in sorted({it for it in names if names.count(it) > 1}):
        yield f"sets {name} twice"


def references(items):
    """What names another object names one that is there."""
    workloads = [it for it in items if it["kind"] in WORKLOADS]
    named = {name_of(it) for it in items}
    labels = [pod_of(it)["metadata"]["labels"] for it in workloads]
    for item in workloads:
        pod = pod_of(item)["spec"]
        wanted = [f"ServiceAccount/{pod['serviceAccountName']}"]
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                wanted.append(f"ConfigMap/{volume['configMap']['name']}")
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                wanted.append(f"PersistentVolumeClaim/{claim}")
        for one in wanted:
            if one not in named:
                yield name_of(item), f"names {one}, which is not there"
        yield from ports_of(item, pod)
    for item in items:
        if item["kind"] in ("Service", "PodDisruptionBudget", "PodMonitor"):
            selector = item["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            if not any(selector.items() <= it.items() for it in labels):
                yield name_of(item), f"selects no pod by {selector}"
        if item["kind"] == "HorizontalPodAutoscaler":
            target = item["spec"]["scaleTargetRef"]
            if f"{target['kind']}/{target['name']}" not in named:
                yield name_of(item), f"scales {target}, which is not there"


def ports_of(item, pod):
    for container in pod["containers"]:
        ports = {it["containerPort"] for it in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in ports:
                yield name_of(item), f"{probe} asks port {port}, which is not the container's"


def rules(item, alerts):
    if item["kind"] == "PrometheusRule" and item["spec"] != alerts:
        yield name_of(item), "has other rules than the file of alerts"


def main():
    kustomize, alerts, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(alerts, encoding="utf-8") as file:
        alerts = yaml.safe_load(file)
    version = kubernetes_validate.latest_version()
    wrong = 0
    for folder in folders:
        items = render(kustomize, folder)
        found = []
        for item in items:
            found += [(name_of(item), complaint) for complaint in schema(item, version)]
            if item["kind"] in WORKLOADS:
                found += [(name_of(item), complaint) for complaint in policy(item)]
            found += rules(item, alerts)
            if item["kind"] not in ("Namespace",) and item["metadata"].get(
                "namespace"
            ) != "sharding-system":
                found.append((name_of(item), "is in another namespace"))
        found += references(items)
        for name, complaint in found:
            print(f"{folder}: {name}: {complaint}")
        wrong += len(found)
        kinds = ", ".join(sorted({it["kind"] for it in items}))
        print(f"{folder}: {len(items)} objects against Kubernetes {version}: {kinds}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
