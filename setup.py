"""Everything about the package stands in setup.cfg; this is what it cannot say."""

from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

LINKS = {"jackfield/app": "../app", "jackfield/handlers": "../handlers"}


class SourceDistribution(sdist):
    """Keeps the symbolic links, which setuptools would replace by copies of what they lead to."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Lay the files out as in the checkout."""
        super().make_release_tree(base_dir, [file for file in files if not file.startswith(tuple(LINKS))])
        for link, target in LINKS.items():
            Path(base_dir, link).symlink_to(target)


setup(cmdclass={"sdist": SourceDistribution})
