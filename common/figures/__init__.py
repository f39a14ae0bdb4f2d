"""Pictures of cases: figures of slices and series, and the folder that they are written to."""

from common.figures.case import case_figure
from common.figures.index import PanelIndex
from common.figures.parts import save_figure
from common.figures.series import series_figure
