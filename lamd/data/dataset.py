"""The data sets that a target can use; adding one is one `register` call."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything that any layer asks about a data set.

    Attributes:
        name: as in a config.
        label: for people.
        published_size: pixels of the published values' frames.
    """

    name: str
    label: str
    published_size: int


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> Dataset:
    """Add a data set under its name."""
    DATASETS[dataset.name] = dataset
    return dataset


for _dataset in (
    Dataset(name="bair", label="BAIR", published_size=64),
    Dataset(name="landscape", label="Landscape", published_size=128),
    Dataset(name="cater_v1", label="CATER-GEN-v1", published_size=128),
    Dataset(name="cater_v2", label="CATER-GEN-v2", published_size=128),
    Dataset(name="natops", label="NATOPS", published_size=128),
    Dataset(name="mug", label="MUG", published_size=256),
):
    register(_dataset)
