"""`mcpctld.protocols.inet.tcp.allowance`: how much may be sent, by mode."""

import math

import pytest

from mcpctld.protocols.inet.tcp.allowance import Allowance, Mode

MSS = 1000


def allowance(segments: int = 20) -> Allowance:
    made = Allowance(MSS, 0)
    made.cubic.cwnd = float(segments * MSS)
    return made


def recovering() -> Allowance:
    """Twenty segments were in flight when one was found to be lost."""
    made = allowance()
    made.lose(una=0, nxt=20 * MSS)
    return made


def lost() -> Allowance:
    made = allowance()
    made.time_out(una=0, nxt=20 * MSS, again=False)
    return made


class TestOpen:
    def test_the_window_is_the_limit(self):
        it = allowance(2)
        assert it.has_room(MSS, MSS)
        assert not it.has_room(MSS, MSS + 1)

    def test_one_segment_may_always_be_in_flight(self):
        it = allowance(0)
        assert it.has_room(MSS, 0)

    @pytest.mark.parametrize(("limited", "grown"), [(True, 21), (False, 20)])
    def test_it_grows_only_where_it_was_used_up(self, limited, grown):
        it = allowance()
        it.is_limited = limited
        it.receive_ack(MSS, MSS, 19 * MSS, 1.0, 0.1)
        assert it.cubic.cwnd == grown * MSS

    def test_an_ack_of_nothing_changes_nothing(self):
        it = allowance()
        it.is_limited = True
        it.receive_ack(0, 0, 20 * MSS, 1.0, 0.1)
        assert it.cubic.cwnd == 20 * MSS

    def test_no_ack_ends_what_has_not_begun(self):
        assert not allowance().is_repaired(1 << 40)

    def test_a_needless_copy_tells_nothing(self):
        it = allowance()
        it.send(MSS, again=True)
        it.receive_dsack()
        assert (it.mode, it.cubic.cwnd) == (Mode.OPEN, 20 * MSS)

    def test_a_loss_that_a_probe_has_repaired_counts(self):
        it = allowance()
        it.repair_tail(20 * MSS)
        assert (it.mode, it.cubic.cwnd) == (Mode.OPEN, 14 * MSS)


class TestRecovery:
    def test_it_sends_in_step_with_what_arrives(self):
        it = recovering()
        assert it.mode is Mode.RECOVERY
        assert not it.has_room(MSS, 19 * MSS)
        it.receive_ack(0, MSS, 18 * MSS, 1.0, 0.1)
        assert it.has_room(MSS, 18 * MSS)
        it.send(MSS, again=True)
        assert not it.has_room(MSS, 19 * MSS)

    def test_another_loss_is_part_of_it(self):
        it = recovering()
        it.lose(una=0, nxt=30 * MSS)
        assert it.cubic.ssthresh == 14 * MSS
        assert it.is_repaired(20 * MSS)

    def test_it_ends_with_what_was_sent_before_it_began(self):
        it = recovering()
        assert not it.is_repaired(20 * MSS - 1)
        assert it.is_repaired(20 * MSS)
        assert (it.mode, it.cubic.cwnd) == (Mode.OPEN, 14 * MSS)

    def test_if_all_was_in_vain_nothing_was_lost(self):
        it = recovering()
        it.send(MSS, again=True)
        it.send(MSS, again=True)
        it.send(MSS, again=False)
        it.receive_dsack()
        assert it.mode is Mode.RECOVERY
        it.receive_dsack()
        assert (it.mode, it.cubic.cwnd, it.cubic.ssthresh) == (Mode.OPEN, 20 * MSS, math.inf)

    def test_that_may_turn_out_after_its_end(self):
        it = recovering()
        it.send(MSS, again=True)
        it.is_repaired(20 * MSS)
        it.receive_dsack()
        assert it.cubic.cwnd == 20 * MSS

    def test_a_probe_changes_nothing_more(self):
        it = recovering()
        it.repair_tail(20 * MSS)
        assert it.cubic.ssthresh == 14 * MSS


class TestLoss:
    def test_it_begins_anew_from_one_segment(self):
        it = lost()
        assert (it.mode, it.cubic.cwnd, it.cubic.ssthresh) == (Mode.LOSS, MSS, 14 * MSS)
        assert not it.has_room(MSS, MSS)

    def test_it_grows_as_in_slow_start(self):
        it = lost()
        it.is_limited = True
        it.receive_ack(MSS, MSS, 0, 1.0, 0.1)
        assert it.cubic.cwnd == 2 * MSS

    def test_losses_found_meanwhile_do_not_count_again(self):
        it = lost()
        it.lose(una=0, nxt=20 * MSS)
        assert (it.mode, it.cubic.ssthresh) == (Mode.LOSS, 14 * MSS)

    def test_it_ends_without_a_change_of_the_window(self):
        it = lost()
        assert it.is_repaired(20 * MSS)
        assert (it.mode, it.cubic.cwnd) == (Mode.OPEN, MSS)

    def test_the_same_text_again_leaves_the_threshold(self):
        it = lost()
        it.time_out(una=0, nxt=20 * MSS, again=True)
        assert it.cubic.ssthresh == 14 * MSS

    def test_a_timeout_for_nothing_is_taken_back(self):
        it = lost()
        it.send(MSS, again=True)
        it.receive_dsack()
        assert (it.mode, it.cubic.cwnd) == (Mode.OPEN, 20 * MSS)
