"""v1: labels, of content and of spaces."""

from sandbox.cloud.call import Call
from sandbox.cloud.rules import v1_json, v1_refuse
from sandbox.wire import Document

_BAD = set(" :;,.?&[]()#^*!@\t\n")
Labels = dict[tuple[str, str], int]


def add_labels(call: Call, labels: Labels, prefixes: tuple[str, ...], identity: str) -> None:
    """Add the labels of the body: one, a list, or ``{"results": […]}``. None is added where one is refused."""
    document = v1_json(call.request)
    if isinstance(document, dict) and "results" in document:
        document = document["results"]
    items = document if isinstance(document, list) else [document]
    wanted: list[tuple[str, str]] = []
    for item in items:
        prefix, name = (item.get("prefix"), item.get("name")) if isinstance(item, dict) else (None, None)
        if not isinstance(prefix, str) or not isinstance(name, str) or not name:
            raise v1_refuse(400, "A label needs prefix and name")
        if prefix not in prefixes:
            raise v1_refuse(400, f"Label prefix {prefix} is not valid here")
        if len(name) > 255 or _BAD & set(name):
            raise v1_refuse(400, f"The label {name} holds characters that are not allowed, or is too long")
        wanted.append((prefix, name.lower()))
    if len(labels.keys() | set(wanted)) > 400:
        raise v1_refuse(400, "Too many labels")
    for label in wanted:
        if label not in labels:
            labels[label] = call.site.label_id(*label)
            call.request.did("created", "label", labels[label], f"label {label[0]}:{label[1]} on {identity}")


def label_results(call: Call, labels: Labels) -> Document:
    results = [
        {"prefix": prefix, "name": name, "id": str(id_), "label": name if prefix == "global" else f"{prefix}:{name}"}
        for (prefix, name), id_ in labels.items()
    ]
    return {
        "results": results,
        "start": 0,
        "limit": 200,
        "size": len(results),
        "_links": {
            "base": f"{call.request.origin}/wiki",
            "context": "/wiki",
            "self": f"{call.request.origin}{call.request.path}",
        },
    }
