"""Everything is in setup.cfg; this file serves checkouts whose links are not links.

Git on Windows writes the link `keras_det/export` as a text file. Then setuptools is told where the
folder lies. Type checkers do not see `keras_det.export` in an editable install of such a checkout.
"""

from pathlib import Path

from setuptools import setup

linked = (Path(__file__).parent / "keras_det" / "export").is_dir()
setup(**({} if linked else {"package_dir": {"keras_det.export": "export"}}))
