"""What a conversion reports."""

from __future__ import annotations

from active_learning.annotations import Annotation, Instance
from active_learning.conversion.report import Report


def test_labels_that_are_left_out_have_one_warning_each():
    messages: list[str] = []
    report = Report(messages.append)
    report.leave_out(["helthy", "tractor"])
    report.leave_out(["helthy"])
    report.warn_of_labels(["healthy", "damaged"])
    assert messages == [
        "warning: label 'helthy' is not in classes (did you mean 'healthy'?): 2 objects left out",
        "warning: label 'tractor' is not in classes (healthy, damaged): 1 object left out",
    ]


def test_the_summary_counts():
    report = Report(lambda _: None)
    report.count(Annotation("a.png", 3, 4, (Instance("healthy"), Instance("healthy"))))
    report.count(Annotation("b.png", 3, 4))
    report.warn("w")
    report.fail("f")
    report.fail("g")
    assert report.errors == 2
    assert report.summary(["healthy", "damaged"], 1).splitlines() == [
        "2 images converted, 1 of them without objects",
        "2 objects: healthy 2, damaged 0",
        "1 image without an annotation",
        "1 warning, 2 errors",
    ]
