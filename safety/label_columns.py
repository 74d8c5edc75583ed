"""Which outputs of a classifier stand for which category, by the operator's table of its labels.

Shared by classifiers of prompts and of images. Knows labels and categories, no model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from darkroom.errors import ConfigurationError
from safety.verdict import Category

BENIGN = "benign"


def label_columns(id2label: Mapping[int, str], labels: Mapping[str, str], *, what: str) -> Mapping[Category, list[int]]:
    """The indices of each category's outputs; `what` names the classifier in an error.

    Raises:
        ConfigurationError: table and model don't name the same labels, or every label is benign.
    """
    missing, unknown = sorted(set(id2label.values()) - set(labels)), sorted(set(labels) - set(id2label.values()))
    if missing or unknown:
        fault = f"does not name {missing[0]!r}" if missing else f"names {unknown[0]!r}, which the model does not have"
        raise ConfigurationError(f"the label table of the {what} {fault}")
    columns: defaultdict[Category, list[int]] = defaultdict(list)
    for index, label in sorted(id2label.items()):
        if labels[label] != BENIGN:
            columns[Category(labels[label])].append(index)
    if not columns:
        raise ConfigurationError(f"the label table of the {what} calls every label benign")
    return columns
