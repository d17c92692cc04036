"""Take NiiVue from its npm package as the pages need it: without codecs of Zarr, packed by gzip.

Usage: python tools/vendor_niivue.py NIIVUE.tgz, the file of `npm pack @niivue/niivue@0.69.0`.

The codecs (Blosc, LZ4, Zstandard as WebAssembly) are six tenths of the library, and read scans that
are stored as Zarr; a page has NIfTI. Nothing else is changed.
"""

import gzip
import hashlib
import re
import sys
import tarfile
from pathlib import Path

PLACE = Path(__file__).parents[1] / "musclejax/reports/pages/static/niivue.umd.js.gz"
FILE = "package/dist/niivue.umd.js"
SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of the file in the package of version 0.69.0."""
CODEC = re.compile(rb'"AGFzbQ[A-Za-z0-9+/=]*"')
"""A WebAssembly program, base64, as a string."""


def main(package: Path) -> None:
    """Write the library into the house."""
    with tarfile.open(package) as archive:
        member = archive.extractfile(FILE)
        assert member is not None
        whole = member.read()
    if (found := hashlib.sha256(whole).hexdigest()) != SHA256:
        sys.exit(f"{package}: {FILE} has checksum {found}, not {SHA256}")
    library, codecs = CODEC.subn(b'""', whole)
    PLACE.write_bytes(gzip.compress(library, 9, mtime=0))
    print(f"{PLACE.name}: {PLACE.stat().st_size} bytes, {codecs} codecs left out")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
