"""The data cell: videos simulated or found, then packed; its splits are opened here."""

from collections.abc import Mapping
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.base.files import below, delete_folder, dump_json
from lamd.base.rng import derive_seed
from lamd.base.terminal import say
from lamd.config import DataConfig, Target
from lamd.data.cater.captions import parse
from lamd.data.dataset import find_dataset
from lamd.data.listing import SPLITS
from lamd.data.packed import PackedVideos, open_packed
from lamd.data.stand_in import read_stand_in
from lamd.data.vocabulary import Vocabulary, tokenize
from lamd.metrics.protocols import metric_for
from lamd.pipeline.contents import DATA, split_path
from lamd.weights import cache_root


def build_data(folder: Path, inputs: dict[str, Path], target: Target) -> dict:
    """Simulate or find the videos and pack them; the content hash covers both splits.

    The facts count videos and disjoint clips of L frames, and list what was left out and why.
    """
    data, dataset = target.data, find_dataset(target.data.name)
    simulated = data.source == "simulated"
    if simulated:
        assert data.num_train and data.num_test and data.simulation_seed is not None
        raw, packed = folder / "raw", folder / "packed"
        dataset.simulate(
            raw, num_train=data.num_train, num_test=data.num_test, seed=data.simulation_seed,
            frame_size=dataset.simulated_size(data.size),
        )  # fmt: skip
    else:
        raw, packed = dataset.locate(), below(cache_root(), "packed")
    manifest = read_stand_in(raw, data.name)
    splits = pack_splits(data, raw, packed)
    for split, videos in ({} if simulated else splits).items():
        lacking = dataset.lacking(split, len(videos), len(videos.left_out))
        if lacking and not videos.index.stand_in and getattr(data, f"num_{split}") is None:
            say(f"{data.name}: {lacking}; look with `lamd data verify {data.name}` for the others")
    _check_prompts(target, splits)
    if simulated:
        delete_folder(raw)  # simulated again from its seed at any time
    paths = {
        split: str(videos.path.relative_to(folder) if simulated else videos.path)
        for split, videos in splits.items()
    }
    dump_json(folder / DATA, paths)
    hashes = {split: videos.content_hash for split, videos in splits.items()}
    marks = [manifest and str(manifest), *(videos.index.stand_in for videos in splits.values())]
    length = data.num_frames
    return {
        "content_hash": f"{derive_seed(*hashes.values()):016x}",
        "content": hashes,
        "videos": {split: len(videos) for split, videos in splits.items()},
        "clips": {split: len(videos.windows(length, length)) for split, videos in splits.items()},
        "left_out": {split: videos.left_out for split, videos in splits.items()},
        "truncated": {split: videos.index.truncated_frames for split, videos in splits.items()},
        # Not only the config but the files decide: a stand-in under LAMD_DATA stays a stand-in.
        "stand_in": next(filter(None, marks), None),
    }


def pack_splits(data: DataConfig, raw: Path, cache: Path) -> dict[str, PackedVideos]:
    """Pack both splits below `raw`, the first usable videos of real ones, or reuse `cache`."""
    limits = {"train": data.num_train, "test": data.num_test}
    if data.source == "simulated":
        limits = {}  # all that was simulated is used, short videos apart
    options = {"size": data.size, "num_frames": data.num_frames, **data.own}
    dataset = find_dataset(data.name)
    is_jittered = data.augment is not None and data.augment.time_jitter
    packed = {}
    for split in SPLITS:
        options["all_frames"] = is_jittered and split == "train"
        packed[split] = dataset.pack(raw, cache, split=split, limit=limits.get(split), **options)
    return packed


def _check_prompts(target: Target, splits: Mapping[str, PackedVideos]) -> None:
    """Raise LamdError where captions or classes would end the run after hours of training."""
    prompt, name = target.dmg.prompt, target.data.name
    train, test = (splits[split].conditions or () for split in SPLITS)
    if prompt is None or not train:
        return
    vocabulary = Vocabulary.build(prompt.kind, train)
    if unknown := sorted({*Vocabulary.build(prompt.kind, test).tokens} - {*vocabulary.tokens}):
        noun = "words of test captions" if prompt.kind == "text" else "test classes"
        raise LamdError(
            f"{name}: {noun} that no training video has: {', '.join(unknown)}; correct them or "
            "raise data.num_train"
        )
    scored = any(metric_for(p).needs == "captions" for p in target.evaluate.protocols)
    limits = {"dmg.prompt.max_tokens": prompt.max_tokens}
    if scored and target.captioner is not None:
        limits["captioner.max_tokens"] = target.captioner.max_tokens
    conditions = dict.fromkeys((*train, *test))
    longest = max(len(tokenize(text)) for text in conditions) + 2  # with START and END
    for key, limit in limits.items():
        if limit is not None and longest > limit:
            raise LamdError(
                f"{name}: a caption has {longest} tokens with start and end; raise {key} from "
                f"{limit} to {longest}"
            )
    for condition in conditions:
        vocabulary.encode(condition, prompt.max_tokens or 1)
    for caption in dict.fromkeys(test if scored else ()):
        parse(caption)


def open_split(folder: Path, split: str) -> PackedVideos:
    """Open a split of a finished data cell; LamdError where its packed videos are gone."""
    path = split_path(folder, split)
    if not path.exists():
        raise LamdError(
            f"{path}: packed videos that {folder} refers to are gone; delete that folder "
            "and run the same command again"
        )
    return open_packed(path)
