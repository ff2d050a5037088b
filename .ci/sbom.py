"""Lists what an installed package depends on: licences, and an SBOM in CycloneDX JSON.

    python .ci/sbom.py keras-det --out keras-det.cdx.json

It looks at the environment that runs it and needs the standard library only. Dependencies of extras
are left out unless a dependency without extras needs them.
"""

import argparse
import importlib.metadata
import json
import pathlib
import re
import sys
import uuid

UNKNOWN = "unknown"
CLASSIFIER = "License :: "
LONGEST = 100  # of a licence's name; some packages write the whole text into that field


def normalized(name):
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(distribution):
    """Names of what a distribution needs without its extras."""
    names = []
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            names.append(normalized(re.match(r"[\w.-]+", requirement.strip()).group()))
    return sorted(set(names))


def closure(root):
    """All distributions that one needs, itself included, by normalised name.

    One that is not installed is not needed here: its marker names another system.
    """
    found, open_ = {}, [normalized(root)]
    while open_:
        name = open_.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name == normalized(root):
                raise SystemExit(
                    f"{root} must be installed. Install it in this environment."
                ) from None
            continue
        open_ += requirements(found[name])
    return dict(sorted(found.items()))


def licence(distribution):
    """The licence of a distribution: its SPDX expression, else its own words, else "unknown"."""
    metadata = distribution.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return expression
    words = (metadata.get("License") or "").strip()
    if words and "\n" not in words and len(words) <= LONGEST and words.upper() != "UNKNOWN":
        return words
    classes = metadata.get_all("Classifier") or []
    names = [c.rsplit(" :: ", 1)[-1] for c in classes if c.startswith(CLASSIFIER)]
    return " or ".join(names) if names else UNKNOWN


def component(name, distribution):
    """One entry of the SBOM."""
    reference = f"pkg:pypi/{name}@{distribution.version}"
    words = licence(distribution)
    is_expression = bool(distribution.metadata.get("License-Expression"))
    own = {"expression": words} if is_expression else {"license": {"name": words}}
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": distribution.version,
        "purl": reference,
        "licenses": [own],
    }


def bill(root):
    """The SBOM of an installed distribution: CycloneDX 1.5, the same for the same environment."""
    found = closure(root)
    parts = {name: component(name, found[name]) for name in found}
    references = {name: part["bom-ref"] for name, part in parts.items()}
    main = parts.pop(normalized(root))
    depends = [
        {
            "ref": references[name],
            "dependsOn": [references[n] for n in requirements(each) if n in references],
        }
        for name, each in found.items()
    ]
    seed = json.dumps([main, parts, depends], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {"component": main},
        "components": list(parts.values()),
        "dependencies": depends,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--out", help="file for the SBOM")
    given = parser.parse_args()
    found = closure(given.package)
    width = max(map(len, found))
    for name, distribution in found.items():
        print(f"{name:{width}}  {distribution.version:12}  {licence(distribution)}")
    if given.out:
        text = json.dumps(bill(given.package), indent=2, ensure_ascii=False)
        pathlib.Path(given.out).write_text(text + "\n", encoding="utf-8")
    unknown = [name for name, each in found.items() if licence(each) == UNKNOWN]
    if unknown:
        print(f"Without a licence in their metadata: {', '.join(unknown)}", file=sys.stderr)


if __name__ == "__main__":
    main()
