"""The photographs that every problem of faces can be compared on."""

from __future__ import annotations

from ..problem import OtherData

THREE_HUNDRED_W = OtherData(
    title="On the faces of 300-W",
    command="learned-descent compare faces --data /path/to/300w {options} --out runs/300w",
    note="""or, in a clone of the repository, <code>make compare DATA=/path/to/300w</code>. \
The folder holds <code>afw</code>,
<code>helen/trainset</code> and <code>helen/testset</code> with images and <code>.pts</code> \
files, and <code>bounding_boxes</code> with the corners of a detector's boxes. The images and
annotations are for research only, and have to be asked for: \
<code>https://ibug.doc.ic.ac.uk/resources/300-W/</code>.""",
)
