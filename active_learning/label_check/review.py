"""`label_check: review`: images of the surest findings are offered for correction, while a person annotates anyhow.

Each annotation is offered once. Whoever leaves one as it is has said that it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from active_learning.errors import MaskALError
from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.results import Offer, read_results, write_results
from active_learning.run.data import SPLITS
from active_learning.run.run import Run
from active_learning.system.log import logger
from active_learning.system.wording import and_more, counted

FEWEST, SHARE = 3, 10  # images that are offered: this many, or one for so many new ones
SHOWN = 5


def offer_for_review(run: Run, *, ahead: bool = False) -> bool:
    """Whether images lie in the annotate folders for it; none where nobody is to annotate the training images of the
    loop or, with `ahead`, those chosen for the next one."""
    if run.settings.label_check != "review":
        return False
    images, for_loop = run.present_ahead if ahead else run.present_train_images, run.state.loop + ahead
    try:
        if not (images and run.data.is_awaited("train", images, pre_labelled=run.predict is not None)):
            return False
        results = read_results(run.files)
        offers = _offers(run, results.findings, results.offered, for_loop)
        wanted = {split: [one.image for one in offers if one.split == split] for split in SPLITS}
        there = {split: run.data.offer(split, names) for split, names in wanted.items() if names}
        made = [one for one in offers if one.image in there.get(one.split, ())]  # not while another run has the folder
        write_results(run.files, replace(results, offered=tuple(dict.fromkeys((*results.offered, *made)))))
    except (OSError, MaskALError) as error:
        logger.warning("No annotations are offered for correction: %s", error)
        return False
    names = [f"{split}/{name}" for split, offered in there.items() for name in offered]
    if names:
        text = "%s whose annotations look wrong lie in the annotate folder once more, to be corrected or left: %s"
        logger.info(text, counted(len(names), "image"), and_more(names, SHOWN))
    return bool(names)


def _offers(run: Run, findings: Sequence[LabelFinding], earlier: Sequence[Offer], loop: int) -> list[Offer]:
    """Those of this loop: such as an earlier start has chosen, then of the surest findings."""
    most = max(FEWEST, len(run.state.chosen) // SHARE)
    left = {(one.split, one.image, one.digest) for one in earlier if one.loop < loop}
    likely = [one for one in findings if one.is_likely and (one.split, one.image, one.digest) not in left]
    offers = dict.fromkeys(Offer(one.split, one.image, one.digest, loop) for one in likely)
    return list(offers)[:most]
