"""`lamd list` and `lamd show`: the targets, a resolved config, the state of its cells."""

from lamd.cli.options import RUNS, Profile, Runs, Set, TargetArg
from lamd.cli.output import print_table


def list_() -> None:
    """List the targets."""
    from lamd.config import describe_target, list_targets

    described = {path.stem: describe_target(path) for path in list_targets()}
    rows = [[name, ", ".join(profiles), title] for name, (title, profiles) in described.items()]
    print_table(["target", "profiles", "title"], rows)


def show(
    target: TargetArg, profile: Profile = "quick", set_: Set = None, runs: Runs = RUNS
) -> None:
    """Print the resolved config and the cells with their keys, or a sweep's grid, and states."""
    import yaml

    from lamd.config import Sweep, config_hash, load_target
    from lamd.pipeline.store import Store
    from lamd.targets import KINDS, sweep

    config = load_target(target, profile, set_ or ())
    graph, store = KINDS[config.kind].plan(config, "auto"), Store(runs)
    if isinstance(config, Sweep):
        header, *rows = sweep.state_table(config, graph, store)
    else:
        header, rows = ["cell", "state", "folder"], []
        for source, cells in graph.cells().items():
            for cell in cells:
                key = store.key(cell) or "(known once data is made)"
                name = f"{source}: {cell.name}" if source else cell.name
                rows.append([name, store.state(cell), f"{cell.kind}-{key}"])
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    print(f"# config {config_hash(config)}\n{text}")
    print_table(header, rows)
