from __future__ import annotations

from examples.template_tracker import main


def test_a_learned_tracker_keeps_the_template_where_lucas_kanade_loses_it():
    errors = main(num_frames=12, num_train=256)
    classical, learned = (values < 1 for values in errors.values())
    assert learned.all()
    assert classical.sum() < len(classical) / 2
