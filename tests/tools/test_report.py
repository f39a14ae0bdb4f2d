"""The HTML report: one file that is well-formed, safe and complete."""

import pytest
from html_page import check_page
from matplotlib.figure import Figure

from tools.report import ReportCommand, ReportImage, ReportSection, ReportTable, write_report

NASTY = "<script>alert('x')</script> & \"quoted\" $5"


def picture(inches=1):
    figure = Figure(figsize=(inches, 1))
    figure.subplots()
    return ReportImage.draw(figure, NASTY)


def test_report_is_one_wellformed_file_with_all_text_escaped(tmp_path):
    table = ReportTable(NASTY, [NASTY], [[NASTY], [(NASTY, NASTY)]], note=NASTY)
    path = write_report(
        tmp_path / "new" / "report.html",
        title=NASTY,
        intro=[NASTY],
        sections=[
            ReportSection(NASTY, [table, NASTY]),
            ReportSection("Pictures", [picture(), picture()]),
            ReportSection("How to go on", [ReportCommand(NASTY, NASTY)]),
        ],
    )
    page = check_page(path)
    assert page.text.count(NASTY) == 15  # title twice; none was taken for a tag
    assert page.alternatives == [NASTY] * 2
    assert len(page.images) == 2
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_sections_without_content_are_left_out(tmp_path):
    sections = [ReportSection("Numbers", []), ReportSection("Charts", [])]
    page = check_page(write_report(tmp_path / "report.html", title="t", intro=["one", "two"], sections=sections))
    assert "h2" not in page.tags
    assert page.tags.count("p") == 2


def test_wide_pictures_are_to_be_scrolled(tmp_path):
    section = ReportSection("Pictures", [picture(), picture(inches=12)])
    path = write_report(tmp_path / "report.html", title="t", intro=[], sections=[section])
    assert path.read_text().count('<img class="wide"') == 1


def test_what_is_no_png_is_refused(tmp_path):
    section = ReportSection("Pictures", [ReportImage("photo", b"\xff\xd8\xff")])
    with pytest.raises(ValueError, match="expected a PNG image for 'photo'"):
        write_report(tmp_path / "report.html", title="t", intro=[], sections=[section])
    assert list(tmp_path.iterdir()) == []
