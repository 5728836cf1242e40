"""The order of the prompts is TRL's, and a resumed run finds it again."""

from trl.trainer.utils import RepeatSampler

from trainer.order import ResumableOrder


def trls(*, shuffle: bool = True) -> RepeatSampler:
    return RepeatSampler(range(10), 2, batch_size=3, repeat_count=2, shuffle=shuffle, seed=5)


def test_pass_after_pass_it_is_the_order_that_trl_makes_of_one_generator() -> None:
    straight = trls()
    expected = [list(straight) for _ in range(4)]
    assert len({tuple(one) for one in expected}) == 4
    done = 0
    order = ResumableOrder(trls(), lambda: done)
    for one in expected:
        assert list(order) == one
        done += 1
    assert len(order) == len(expected[0])


def test_a_process_that_begins_in_the_third_pass_has_the_order_of_the_third() -> None:
    straight = trls()
    third = [list(straight) for _ in range(3)][-1]
    assert list(ResumableOrder(trls(), lambda: 2)) == third
    assert list(trls()) != third


def test_without_shuffling_there_is_nothing_to_find() -> None:
    assert list(ResumableOrder(trls(shuffle=False), lambda: 2)) == list(trls(shuffle=False))
