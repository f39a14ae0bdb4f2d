"""Files: every format behind one reader, `Source`, and one writer, `Sink`.

`open_source` and `open_sink` choose the format; see ``docs/DATA.md`` for the formats and what is read of each.
"""

from common.io.disk import DiskFullError, disk_errors
from common.io.geometry import Geometry, enlargement_matrix
from common.io.intensity import ClippedShare, Intensity, IntensityRange, IntensityScale, given_range, to_dtype
from common.io.naming import FORMATS, SUFFIXES, natural_key, output_suffix, split_suffix
from common.io.opening import format_of, open_sink, open_source
from common.io.sink import Sink
from common.io.source import Source, files_digest
from common.io.spec import AXES, Region, Spec
from common.io.value_range import find_range
