"""Samples in files, which need not all be here."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import torch
from safetensors.torch import save_file

from learned_descent import BackpropThroughTime, Cascade, DescentError, SequentialRidge
from learned_descent.data import Shards, fingerprint, write_shards
from learned_descent.data.batches import RandomBatches, batches, first_samples
from learned_descent.data.shards import SHARDS

from ..toys import Bent, Line, Rows


def samples(count, first=0):
    return {
        "x": torch.arange(first, first + count, dtype=torch.float32).view(-1, 1).expand(-1, 2),
        "image": torch.full((count, 1, 3, 3), 7, dtype=torch.uint8),
        "number": torch.arange(first, first + count),
    }


@pytest.fixture
def two(tmp_path):
    """Two parts, of 9 samples and of 6."""
    write_shards(tmp_path / "a", samples(9), size=4)
    write_shards(tmp_path / "b", Rows(samples(6, first=9)), size=4)
    return tmp_path


def remove(part):
    for file in part.glob("*.safetensors"):
        file.unlink()


def test_what_is_read_is_what_was_written(two):
    shards, batch = Shards(two), samples(15)
    assert len(shards) == 15
    for place in range(15):
        for name, value in shards[place].items():
            assert value.dtype == batch[name].dtype
            assert torch.equal(value, batch[name][place])
    whole = Shards(two / "b")
    assert (len(whole), whole.parts()) == (6, [range(6)])
    with pytest.raises(IndexError):
        shards[15]


def test_batches_of_parts_take_turns(two):
    def numbers(rank, world):
        return [
            batch["number"].tolist() for batch in batches(Shards(two), 4, rank=rank, world=world)
        ]

    whole = [[0, 1, 2, 3], [9, 10, 11, 12], [4, 5, 6, 7], [13, 14], [8]]
    assert numbers(0, 1) == whole
    assert [numbers(rank, 2) for rank in range(2)] == [whole[0::2], whole[1::2]]
    assert sorted(chain(*(numbers(rank, 3) for rank in range(3)))) == sorted(whole)


def test_random_batches_hold_as_many_of_each_part(two):
    shards, settings = Shards(two), {"seed": 3, "start": 0, "stop": 9}
    whole = list(RandomBatches(shards, 4, **settings))
    assert all(sum(place < 9 for place in batch) == 2 for batch in whole)
    epochs = [set(chain(*whole[first : first + 3])) for first in (0, 3)]
    assert list(map(len, epochs)) == [12, 12]
    assert epochs[0] != epochs[1]  # another three of the larger part are out
    for rank in range(2):
        own = list(RandomBatches(shards, 4, **settings, rank=rank, world=2))
        assert own == [batch[rank::2] for batch in whole]
        assert all((place < 9) == (rank == 0) for batch in own for place in batch)
    with pytest.raises(DescentError, match="of each of the 2 parts, got 5, which they do not"):
        RandomBatches(shards, 5, **settings)


def test_a_rank_needs_its_own_parts_alone(two):
    digest = fingerprint(Shards(two))
    remove(two / "a")
    shards = Shards(two)
    assert fingerprint(shards) == digest
    assert first_samples(shards, 4)["number"].tolist() == [9, 10, 11, 12]
    assert len(list(batches(shards, 4, rank=1, world=2))) == 2
    for rank, world in ((0, 1), (0, 2), (1, 3)):
        with pytest.raises(DescentError, match=r"a: this rank needs the samples, and its machine"):
            list(batches(shards, 4, rank=rank, world=world))
        with pytest.raises(DescentError, match=r"a: this rank needs the samples, and its machine"):
            RandomBatches(shards, 6, seed=0, start=0, stop=1, rank=rank, world=world)


def test_a_first_look_stays_within_a_part(two):
    remove(two / "b")
    assert first_samples(Shards(two), 12)["number"].tolist() == list(range(9))


def test_the_digest_tells_contents_apart(two, tmp_path):
    write_shards(two / "c", samples(6, first=9), size=4)
    assert fingerprint(Shards(two / "b")) == fingerprint(Shards(two / "c"))
    write_shards(two / "d", samples(6, first=8), size=4)
    assert fingerprint(Shards(two / "b")) != fingerprint(Shards(two / "d"))


def test_it_trains_as_the_samples_in_memory_do(tmp_path):
    problem = Line()
    write_shards(tmp_path, problem.data("train"), size=5)
    models = []
    for train in (problem.data("train"), Shards(tmp_path)):
        torch.manual_seed(0)
        model = Cascade.for_problem(problem, num_steps=2, observation=Bent())
        SequentialRidge(accelerator="cpu").fit(model, train)
        BackpropThroughTime(iterations=5, batch_size=8, accelerator="cpu").fit(model, train)
        models.append(model)
    for one, other in zip(*(model.parameters() for model in models)):
        assert torch.equal(one, other)


def test_shards_that_are_none_are_refused(two):
    with pytest.raises(DescentError, match="a: expected a new folder or an empty one"):
        write_shards(two / "a", samples(2))
    with pytest.raises(DescentError, match="size: expected 1 or more, got 0"):
        write_shards(two / "c", samples(2), size=0)
    with pytest.raises(DescentError, match=f"nowhere: expected {SHARDS} in it or in the folders"):
        Shards(two / "nowhere")
    uneven = [{"x": torch.zeros(2)}] * 2 + [{"x": torch.zeros(3)}]
    with pytest.raises(DescentError, match="samples from 2 on: expected the types and shapes"):
        write_shards(two / "c", uneven, size=2)


def test_a_part_that_is_incomplete_or_another_one_is_refused(two):
    (two / "a" / "000001.safetensors").unlink()
    with pytest.raises(DescentError, match=r"a/000001.*: 1 of the 3 files of the part are missing"):
        Shards(two)
    remove(two / "a")
    remove(two / "b")
    with pytest.raises(DescentError, match="expected the files of at least one part, found"):
        Shards(two)
    write_shards(two / "c", {"x": torch.zeros(3, 2)})
    with pytest.raises(DescentError, match=r"c/shards.json: expected the tensors of .*a/shards"):
        Shards(two)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tensors": {"x": 3}, "shards": [{"file": 1}]}'])
def test_a_list_that_makes_no_sense_is_refused(two, text):
    (two / "a" / SHARDS).write_text(text)
    with pytest.raises(DescentError, match=r"a/shards.json: expected a list of shards, as write"):
        Shards(two)


def test_a_list_without_samples_is_refused(two):
    about = json.loads((two / "a" / SHARDS).read_text())
    (two / "a" / SHARDS).write_text(json.dumps({**about, "shards": []}))
    with pytest.raises(DescentError, match="expected at least one shard, and samples in each"):
        Shards(two)


def test_a_file_of_other_samples_or_none_is_refused(two):
    shards = Shards(two)
    save_file({"x": torch.zeros(4, 2)}, two / "a" / "000000.safetensors")
    with pytest.raises(DescentError, match=r"000000.safetensors: expected tensors of the shapes"):
        shards[0]
    (two / "a" / "000001.safetensors").write_bytes(b"cut off")
    with pytest.raises(DescentError, match=r"000001.safetensors: cannot be read .*: copy it or"):
        shards[4]
