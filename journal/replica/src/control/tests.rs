//! Each rule by itself. What they come to together is the simulation's question (`tests/sim`).

use ironbell_record::ChainHash;

use super::*;

const MS: u64 = 1_000_000;
const ONE: NodeId = NodeId::ONE;
const TWO: NodeId = NodeId::TWO;

fn config(node: NodeId) -> Config {
    Config {
        node,
        ack: AckPolicy::BothDurable,
        after_takeover: AfterTakeover::Alone,
        solo: SoloPolicy::ByHand,
        rejoins_by_itself: true,
        silence_is_enough: false,
        grace: Nanos(300 * MS),
        permission: Nanos(500 * MS),
        drift_ppm: 1000,
        read_every: Nanos(200 * MS),
        retry: Nanos(50 * MS),
        handover: Nanos(1000 * MS),
    }
}

fn point(frames: u64, epoch: u64) -> Point {
    Point { frames, epoch, seq: Seq(frames * 10), hash: ChainHash([frames as u8; 32]) }
}

fn register(epoch: u64, primary: NodeId, in_sync: InSync) -> Register {
    let mode = if in_sync == InSync::Both { Mode::Pair } else { Mode::Alone };
    let (reason, approver) = ("test".into(), String::new());
    Register {
        epoch,
        primary,
        in_sync,
        mode,
        ack: AckPolicy::BothDurable,
        reason,
        approver,
        start: point(5, 1),
    }
}

/// A node, and what it has asked for.
struct Rig {
    control: Control,
    now: u64,
    /// It has asked for a read; [`wait`](Self::wait) answers it.
    reads: bool,
}

impl Rig {
    fn new(config: Config, promised: u64, last: Point) -> Self {
        let start = Start { promised, last, stands: false };
        Self { control: Control::new(config, start, Nanos(1000 * MS)), now: 1000 * MS, reads: false }
    }

    fn give(&mut self, input: Input) -> Vec<Action> {
        self.control.input(input, Nanos(self.now));
        self.actions()
    }

    fn order(&mut self, order: Order) -> Result<Vec<Action>, String> {
        self.control.order(order, Nanos(self.now)).map_err(|refused| refused.to_string())?;
        Ok(self.actions())
    }

    fn actions(&mut self) -> Vec<Action> {
        let mut actions: Vec<Action> = std::iter::from_fn(|| self.control.action()).collect();
        self.reads |= actions.contains(&Action::Read);
        actions.retain(|action| *action != Action::Read);
        actions
    }

    fn read(&mut self, seen: Option<Seen>) -> Vec<Action> {
        assert!(std::mem::take(&mut self.reads), "no read was asked for");
        self.give(Input::Read(seen))
    }

    /// Time goes by; reads are answered with this.
    fn wait(&mut self, ms: u64, register: Option<&Register>, peer_lease: bool) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..ms.div_ceil(10) {
            self.now += 10 * MS;
            done.extend(self.give(Input::Tick));
            while self.reads {
                let seen = Seen { register: register.cloned(), peer_lease };
                done.extend(self.read(Some(seen)));
            }
        }
        done
    }

    /// A standby that has heard its primary until now, and knows the register.
    fn standby(config: Config, register: &Register) -> Self {
        let mut rig = Self::new(config, register.epoch, point(20, register.epoch));
        rig.wait(50, Some(register), true);
        rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: true });
        rig
    }

    /// A node that leads and is open.
    fn primary(config: Config, register: &Register) -> Self {
        let mut rig = Self::new(config, register.epoch, point(20, register.epoch));
        if register.in_sync == InSync::Both {
            rig.give(Input::LinkUp(Peer {
                promised: register.epoch,
                leading: None,
                relation: Relation::Same,
            }));
        }
        let epoch = promise(&rig.wait(50, Some(register), false));
        rig.promised(epoch);
        rig.give(Input::Swapped(Swapped::Done));
        rig.give(Input::Ready { epoch });
        rig.ack(epoch);
        let leads = rig.wait(600, None, false);
        assert!(leads.contains(&Action::Open), "{leads:?}");
        rig.ack(epoch);
        rig
    }

    fn promised(&mut self, epoch: u64) -> Vec<Action> {
        let acked_at = Some(Nanos(self.now));
        self.give(Input::Promised { epoch, last: point(20, epoch - 1), acked_at })
    }

    fn ack(&mut self, epoch: u64) -> Vec<Action> {
        self.give(Input::Acked { epoch, durable: point(20, epoch - 1), live: true })
    }

    fn leads_in(&self) -> Register {
        match &self.control.role {
            Role::Primary(lead) => lead.register.clone(),
            role => panic!("it does not lead: {role:?}"),
        }
    }
}

fn promise(actions: &[Action]) -> u64 {
    let [Action::Promise(epoch)] = actions else { panic!("one promise and nothing else: {actions:?}") };
    *epoch
}

fn swap(actions: &[Action]) -> (Option<Register>, Register) {
    let mut swaps = actions.iter().filter_map(|action| match action {
        Action::Swap { expect, to } => Some((expect.clone(), to.clone())),
        _ => None,
    });
    let swap = swaps.next().unwrap_or_else(|| panic!("no swap: {actions:?}"));
    assert_eq!(swaps.next(), None, "one swap at a time");
    swap
}

fn solo() -> Order {
    Order::Solo { reason: "ticket 12".into(), approver: "ann".into() }
}

// Rule 3: promotion.

#[test]
fn a_standby_promises_before_it_swaps_and_opens_when_the_old_permission_is_over() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    let epoch = promise(&rig.wait(400, Some(&old), false));
    assert_eq!(epoch, 5);
    // While the promise is not durable, nothing is asked.
    assert_eq!(rig.wait(200, Some(&old), false), []);
    let promised_at = rig.now;
    let (expect, to) = swap(&rig.promised(5));
    assert_eq!(expect, Some(old));
    assert_eq!((to.epoch, to.primary, to.in_sync, to.mode), (5, TWO, InSync::Only(TWO), Mode::Alone));
    assert_eq!((to.start, &*to.reason), (point(20, 4), "takeover"));
    let lead = rig.give(Input::Swapped(Swapped::Done));
    let rule = CommitRule::Alone;
    assert_eq!(lead[..2], [Action::HoldLease, Action::Lead { register: to.clone(), rule }]);
    assert!(!rig.give(Input::Ready { epoch: 5 }).contains(&Action::Open));
    // 500 ms, and twice a thousandth of them for the two clocks.
    let early = rig.wait((promised_at + 500 * MS - rig.now) / MS, Some(&to), false);
    assert!(!early.contains(&Action::Open), "{early:?}");
    rig.now = promised_at + 501 * MS;
    assert!(!rig.give(Input::Tick).contains(&Action::Open));
    rig.now += 1;
    assert!(rig.give(Input::Tick).contains(&Action::Open));
}

#[test]
fn a_lease_starts_nothing_while_frames_come_and_silence_nothing_while_it_is_there() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    for _ in 0..20 {
        assert_eq!(rig.wait(100, Some(&old), false), [], "the lease is gone, the primary is not");
        rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: true });
    }
    assert_eq!(rig.wait(2000, Some(&old), true), [], "silence, and the lease is there");
    let mut rig = Rig::standby(Config { silence_is_enough: true, ..config(TWO) }, &old);
    assert_eq!(promise(&rig.wait(400, Some(&old), true)), 5, "silence alone, where it is enough");
}

#[test]
fn a_promise_waits_for_a_read_that_was_asked_for_after_the_silence() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    rig.now += 200 * MS;
    assert_eq!(rig.give(Input::Tick), []);
    assert!(rig.reads);
    // The answer to a read that was asked for before the grace was over says too little.
    rig.now += 200 * MS;
    assert_eq!(rig.give(Input::Tick), []);
    let seen = Seen { register: Some(old.clone()), peer_lease: false };
    assert_eq!(rig.read(Some(seen.clone())), []);
    assert!(rig.reads, "another one");
    // It was heard meanwhile.
    rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: true });
    assert_eq!(rig.read(Some(seen)), []);
}

#[test]
fn only_a_member_of_the_set_is_promoted() {
    let old = register(4, ONE, InSync::Only(ONE));
    let mut rig = Rig::standby(Config { silence_is_enough: true, ..config(TWO) }, &old);
    assert_eq!(rig.wait(2000, Some(&old), false), []);
    let order = Order::Promote { reason: "now".into(), approver: "ann".into() };
    rig.order(order).expect("taken");
    let actions = rig.wait(100, Some(&old), false);
    let [Action::Report(Err(why))] = &actions[..] else { panic!("{actions:?}") };
    assert!(why.contains("not in sync"), "{why}");
}

#[test]
fn a_replaced_disk_is_not_promoted() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::new(Config { silence_is_enough: true, ..config(TWO) }, 0, point(4, 1));
    assert_eq!(rig.wait(2000, Some(&old), false), []);
}

#[test]
fn who_acknowledged_from_memory_and_restarted_is_not_promoted_before_it_holds_what_is_committed() {
    let old = Register { ack: AckPolicy::DurableReceived, ..register(4, ONE, InSync::Both) };
    let config = Config { ack: AckPolicy::DurableReceived, ..config(TWO) };
    let mut rig = Rig::new(config, 4, point(20, 4));
    assert_eq!(rig.wait(2000, Some(&old), false), []);
    rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: false });
    assert_eq!(rig.wait(2000, Some(&old), false), []);
    rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: true });
    assert_eq!(promise(&rig.wait(2000, Some(&old), false)), 5);
}

#[test]
fn an_unknown_outcome_is_asked_for_until_it_is_known() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    promise(&rig.wait(400, Some(&old), false));
    let (expect, to) = swap(&rig.promised(5));
    rig.give(Input::Swapped(Swapped::Unknown));
    // The old value says nothing: the swap may still come.
    let again = rig.wait(100, Some(&old), false);
    assert_eq!(swap(&again), (expect, to.clone()), "the very same");
    rig.give(Input::Swapped(Swapped::Unknown));
    // It was done all along.
    let lead = rig.wait(60, Some(&to), false);
    assert!(matches!(&lead[1], Action::Lead { register, .. } if *register == to), "{lead:?}");
    assert_eq!(
        rig.wait(600, Some(&to), false).iter().filter(|a| matches!(a, Action::Swap { .. })).count(),
        0
    );
}

#[test]
fn who_loses_the_race_gives_up_and_never_takes_the_same_epoch_again() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    promise(&rig.wait(400, Some(&old), false));
    rig.promised(5);
    let other = Register { epoch: 6, ..old };
    assert_eq!(rig.give(Input::Swapped(Swapped::Refused(Some(other.clone())))), []);
    assert_eq!(rig.control.status().standing, Standing::Standby);
    // Silent still: again, above everything.
    assert_eq!(promise(&rig.wait(400, Some(&other), false)), 7);
}

#[test]
fn a_node_that_waits_after_a_takeover_opens_when_the_other_has_joined() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(Config { after_takeover: AfterTakeover::Wait, ..config(TWO) }, &old);
    promise(&rig.wait(400, Some(&old), false));
    let (_, to) = swap(&rig.promised(5));
    rig.give(Input::Swapped(Swapped::Done));
    rig.give(Input::Ready { epoch: 5 });
    assert!(!rig.wait(3000, Some(&to), false).contains(&Action::Open));
    rig.give(Input::Acked { epoch: 5, durable: point(21, 5), live: true });
    let (_, pair) = swap(&rig.give(Input::InForce { rule: CommitRule::Joint, commit: Seq(200) }));
    let joined = rig.give(Input::Swapped(Swapped::Done));
    assert_eq!(pair.mode, Mode::Pair);
    assert!(joined.contains(&Action::Open), "{joined:?}");
}

// Rule 3: a start as primary.

#[test]
fn every_start_takes_a_new_epoch_also_alone() {
    let old = register(4, ONE, InSync::Only(ONE));
    let mut rig = Rig::new(config(ONE), 4, point(20, 4));
    assert_eq!(promise(&rig.wait(50, Some(&old), false)), 5);
    let (expect, to) = swap(&rig.promised(5));
    assert_eq!(expect, Some(old));
    assert_eq!((to.epoch, to.in_sync, to.mode, to.start), (5, InSync::Only(ONE), Mode::Alone, point(20, 4)));
}

#[test]
fn the_primary_of_a_pair_that_starts_adopts_its_standbys_longer_tail_first() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::new(config(ONE), 4, point(20, 4));
    assert_eq!(rig.wait(500, Some(&old), true), [], "without its standby it does not know what that has");
    let peer = Peer { promised: 4, leading: None, relation: Relation::Ahead };
    rig.give(Input::LinkUp(peer));
    let pull = rig.wait(200, Some(&old), true);
    assert_eq!(pull, [Action::Pull { from: point(20, 4) }], "once");
    rig.give(Input::Durable(point(23, 4)));
    // The peer has promised 7 for a takeover that came to nothing.
    rig.give(Input::LinkUp(Peer { promised: 7, relation: Relation::Same, ..peer }));
    assert_eq!(promise(&rig.wait(200, Some(&old), true)), 8);
    let (_, to) = swap(&rig.promised(8));
    assert_eq!((to.epoch, to.in_sync, to.mode), (8, InSync::Both, Mode::Pair));
    let lead = rig.give(Input::Swapped(Swapped::Done));
    assert!(matches!(lead[1], Action::Lead { rule: CommitRule::Pair, .. }), "{lead:?}");
}

#[test]
fn the_primary_of_a_pair_starts_by_itself_only_on_order_and_only_if_nothing_can_be_lost() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::new(config(ONE), 4, point(20, 4));
    rig.wait(100, Some(&old), true);
    rig.order(solo()).expect("taken");
    promise(&rig.wait(100, Some(&old), true));
    let (_, to) = swap(&rig.promised(5));
    assert_eq!((to.in_sync, to.mode), (InSync::Only(ONE), Mode::Solo));
    assert_eq!((&*to.reason, &*to.approver), ("ticket 12", "ann"));

    let old = Register { ack: AckPolicy::DurableReceived, ..old };
    let mut rig = Rig::new(Config { ack: AckPolicy::DurableReceived, ..config(ONE) }, 4, point(20, 4));
    rig.wait(100, Some(&old), true);
    rig.order(solo()).expect("taken");
    let actions = rig.wait(100, Some(&old), true);
    let Some(Action::Report(Err(why))) = actions.first() else { panic!("{actions:?}") };
    assert!(why.contains("start the standby first"), "{why}");
}

#[test]
fn what_was_acknowledged_from_memory_stays_so_until_the_other_joins_anew() {
    let old = Register { ack: AckPolicy::DurableReceived, ..register(4, ONE, InSync::Both) };
    let mut rig = Rig::new(config(ONE), 4, point(20, 4));
    rig.give(Input::LinkUp(Peer { promised: 4, leading: None, relation: Relation::Same }));
    promise(&rig.wait(100, Some(&old), true));
    assert_eq!(swap(&rig.promised(5)).1.ack, AckPolicy::DurableReceived);
}

// Rule 4: solo.

#[test]
fn solo_counts_both_sets_until_the_swap_is_known_to_be_done() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    rig.give(Input::LinkDown);
    let current = rig.leads_in();
    assert!(
        !rig.wait(2000, Some(&current), false).iter().any(|a| matches!(a, Action::Swap { .. })),
        "strict"
    );
    assert!(rig.control.status().alarms.contains(&Alarm::StandbyLost));

    assert_eq!(rig.order(solo()).expect("taken"), [Action::Commit(CommitRule::Joint)]);
    // Not before the rule is in force, and this disk has all that was committed.
    assert_eq!(rig.wait(100, Some(&current), false), []);
    assert_eq!(rig.give(Input::InForce { rule: CommitRule::Joint, commit: Seq(201) }), []);
    let (expect, to) = swap(&rig.give(Input::Durable(point(21, 5))));
    assert_eq!(expect, Some(current.clone()));
    assert_eq!((to.epoch, to.in_sync, to.mode), (6, InSync::Only(ONE), Mode::Solo));
    assert_eq!((&*to.reason, &*to.approver), ("ticket 12", "ann"));
    rig.give(Input::Swapped(Swapped::Unknown));
    let unknown = rig.wait(300, Some(&current), false);
    assert!(!unknown.iter().any(|action| matches!(action, Action::Commit(_))), "{unknown:?}");
    let done = rig.give(Input::Swapped(Swapped::Done));
    assert_eq!(done[0], Action::BeginEpoch(to), "{done:?}");
    assert!(done.contains(&Action::Commit(CommitRule::Alone)), "{done:?}");
}

#[test]
fn a_policy_may_go_solo_by_itself() {
    let old = register(4, ONE, InSync::Both);
    let solo = SoloPolicy::After(Nanos(700 * MS));
    let mut rig = Rig::primary(Config { solo, ..config(ONE) }, &old);
    let current = rig.leads_in();
    rig.give(Input::LinkDown);
    assert_eq!(rig.wait(650, Some(&current), false), [Action::Alarm(Alarm::StandbyLost)]);
    assert_eq!(rig.wait(100, Some(&current), false), [Action::Commit(CommitRule::Joint)]);
    let (_, to) = swap(&rig.give(Input::InForce { rule: CommitRule::Joint, commit: Seq(200) }));
    assert_eq!((to.mode, &*to.approver), (Mode::Solo, "policy"));
}

#[test]
fn who_was_superseded_stops() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    let other = register(9, TWO, InSync::Only(TWO));
    let end = rig.wait(250, Some(&other), false);
    assert_eq!(
        end[end.len() - 3..],
        [Action::Commit(CommitRule::Hold), Action::DropLease, Action::StepDown(StepDown::Superseded(other))]
    );
    assert_eq!(rig.give(Input::Tick), []);

    let mut rig = Rig::primary(config(ONE), &old);
    let peer = Peer { promised: 9, leading: Some(9), relation: Relation::Same };
    let end = rig.give(Input::LinkUp(peer));
    assert_eq!(end.last(), Some(&Action::StepDown(StepDown::PeerLeads(9))));
}

// Rule 5: the register away.

#[test]
fn without_the_register_a_pair_goes_on() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    let epoch = rig.leads_in().epoch;
    for _ in 0..300 {
        rig.now += 10 * MS;
        rig.ack(epoch);
        let actions = if rig.reads { rig.read(None) } else { rig.give(Input::Tick) };
        assert!(actions.iter().all(|a| *a == Action::Alarm(Alarm::RegisterUnreachable)), "{actions:?}");
    }
    assert_eq!(rig.control.status().rule, Some(CommitRule::Pair));
}

// An epoch that nobody owns is skipped.

#[test]
fn a_primary_whose_standby_has_promised_more_takes_an_epoch_above_it() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    let current = rig.leads_in();
    rig.give(Input::PeerRefused { promised: 6 });
    // Who promised may be about to swap: it goes first.
    assert!(rig.wait(250, Some(&current), false).is_empty());
    let (expect, to) = swap(&rig.wait(100, Some(&current), false));
    assert_eq!(
        (expect.as_ref(), to.epoch, to.in_sync, to.mode),
        (Some(&current), 7, InSync::Both, Mode::Pair)
    );
    let done = rig.give(Input::Swapped(Swapped::Done));
    assert_eq!(done, [Action::BeginEpoch(to)]);
}

// Rule 7: rejoin.

#[test]
fn a_node_joins_when_it_holds_what_is_committed_and_meanwhile_both_count() {
    let old = register(4, ONE, InSync::Only(ONE));
    let mut rig = Rig::primary(config(ONE), &old);
    // `primary` has said that the standby is live.
    assert_eq!(rig.control.status().rule, Some(CommitRule::Joint));
    assert_eq!(rig.give(Input::InForce { rule: CommitRule::Joint, commit: Seq(250) }), []);
    let epoch = rig.leads_in().epoch;
    assert_eq!(rig.give(Input::Acked { epoch, durable: point(24, epoch), live: true }), []);
    rig.give(Input::Durable(point(30, epoch)));
    let (_, to) = swap(&rig.give(Input::Acked { epoch, durable: point(25, epoch), live: true }));
    assert_eq!((to.epoch, to.in_sync, to.mode, to.start), (6, InSync::Both, Mode::Pair, point(25, epoch)));
    // It goes while nobody knows whether it is in: another swap settles that, and until then both count.
    rig.give(Input::Swapped(Swapped::Unknown));
    let gone = rig.give(Input::LinkDown);
    let (expect, alone) = swap(&gone);
    assert_eq!((alone.epoch, alone.in_sync), (7, InSync::Only(ONE)));
    assert_eq!(rig.control.status().rule, Some(CommitRule::Joint));
    assert_eq!(expect, Some(rig.leads_in()));
    let refused = rig.give(Input::Swapped(Swapped::Refused(Some(to.clone()))));
    assert_eq!(refused, [Action::BeginEpoch(to), Action::Commit(CommitRule::Pair)]);
}

#[test]
fn a_node_that_goes_before_the_swap_is_asked_for_is_forgotten() {
    let old = register(4, ONE, InSync::Only(ONE));
    let mut rig = Rig::primary(config(ONE), &old);
    let current = rig.leads_in();
    rig.give(Input::LinkDown);
    assert_eq!(rig.control.status().rule, Some(CommitRule::Alone));
    let quiet = rig.wait(500, Some(&current), false);
    assert_eq!(quiet, []);
}

#[test]
fn only_who_does_not_count_is_cut_back_and_only_when_the_register_of_that_epoch_says_so() {
    let cut = Input::NeedsCut { epoch: 6, to: point(12, 4) };
    // It is in the set: nothing is cut, ever.
    let mut rig = Rig::standby(config(TWO), &register(5, ONE, InSync::Both));
    rig.give(cut.clone());
    let member = rig.wait(200, Some(&register(6, ONE, InSync::Both)), true);
    assert_eq!(member, [Action::Alarm(Alarm::CutOfMember)]);
    assert_eq!(rig.wait(2000, Some(&register(6, ONE, InSync::Both)), false), [], "nor does it lead");
    // An older register says nothing about epoch 6.
    let mut rig = Rig::standby(config(TWO), &register(5, ONE, InSync::Only(ONE)));
    rig.give(cut.clone());
    assert_eq!(rig.wait(500, Some(&register(5, ONE, InSync::Only(ONE))), true), []);
    assert_eq!(
        rig.wait(100, Some(&register(6, ONE, InSync::Only(ONE))), true),
        [Action::CutBack(point(12, 4))]
    );
    // By hand, where that is the policy.
    let by_hand = Config { rejoins_by_itself: false, ..config(TWO) };
    let mut rig = Rig::standby(by_hand, &register(5, ONE, InSync::Only(ONE)));
    rig.give(cut);
    assert_eq!(rig.wait(500, Some(&register(6, ONE, InSync::Only(ONE))), true), []);
    assert_eq!(rig.order(Order::Rejoin).expect("taken"), [Action::CutBack(point(12, 4))]);
}

// First start, and rule 8.

#[test]
fn the_first_start_makes_the_register_once() {
    let mut rig = Rig::new(config(ONE), 1, point(3, 1));
    assert_eq!(rig.wait(500, None, false), []);
    rig.order(Order::Bootstrap { approver: "ann".into() }).expect("taken");
    let epoch = promise(&rig.wait(100, None, false));
    let (expect, to) = swap(&rig.promised(epoch));
    assert_eq!((expect, to.epoch, to.in_sync, to.mode), (None, 2, InSync::Only(ONE), Mode::Alone));
    assert_eq!((&*to.reason, &*to.approver), ("bootstrap", "ann"));

    let mut rig = Rig::new(config(ONE), 1, point(3, 1));
    let there = register(4, TWO, InSync::Only(TWO));
    rig.wait(100, Some(&there), false);
    rig.order(Order::Bootstrap { approver: "ann".into() }).expect("taken");
    let actions = rig.wait(100, Some(&there), false);
    let [Action::Report(Err(why))] = &actions[..] else { panic!("{actions:?}") };
    assert!(why.contains("bootstrapped before"), "{why}");
}

#[test]
fn a_switchover_drains_holds_hands_over_and_is_taken_back_in_a_higher_epoch() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    let current = rig.leads_in();
    let switchover = || Order::Switchover { reason: "kernel".into(), approver: "ann".into() };
    assert_eq!(rig.order(switchover()).expect("taken"), [Action::Drain]);
    assert!(rig.order(switchover()).is_err(), "twice");
    let last = point(20, 4);
    assert_eq!(rig.give(Input::Drained { last }), [Action::Commit(CommitRule::Hold)]);
    let hold = rig.give(Input::InForce { rule: CommitRule::Hold, commit: Seq(200) });
    let over = Action::HandOver { epoch: current.epoch, last };
    assert_eq!(hold, [Action::DropLease, over]);
    // The standby does nothing: the primary takes another epoch, in which the hand-over means nothing, and opens again.
    let again = rig.wait(1010, Some(&current), false);
    let (_, to) = swap(&again);
    assert_eq!((to.epoch, to.in_sync), (6, InSync::Both));
    let done = rig.give(Input::Swapped(Swapped::Done));
    assert!(done.contains(&Action::Open), "{done:?}");
    assert!(done.contains(&Action::Commit(CommitRule::Pair)), "{done:?}");
}

#[test]
fn a_standby_that_is_handed_over_to_leads_at_once() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    rig.give(Input::HandedOver { epoch: 4, last: point(20, 4) });
    promise(&rig.wait(10, Some(&old), true));
    let (_, to) = swap(&rig.promised(5));
    assert_eq!(&*to.reason, "switchover");
    rig.give(Input::Swapped(Swapped::Done));
    assert!(rig.give(Input::Ready { epoch: 5 }).contains(&Action::Open), "no permission is left to wait for");
}

#[test]
fn a_hand_over_that_was_taken_back_means_nothing() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::standby(config(TWO), &old);
    rig.give(Input::HandedOver { epoch: 4, last: point(20, 4) });
    rig.give(Input::Heard { at: Nanos(rig.now), holds_commit: true });
    let newer = Register { epoch: 5, ..old };
    assert_eq!(rig.wait(200, Some(&newer), true), []);
}

#[test]
fn a_node_that_was_told_to_stop_stands_until_it_is_told_to_lead() {
    let old = register(4, ONE, InSync::Both);
    let mut rig = Rig::primary(config(ONE), &old);
    let end = rig.order(Order::Demote).expect("taken");
    assert_eq!(end.last(), Some(&Action::StepDown(StepDown::Demoted)));

    let start = Start { promised: 5, last: point(20, 5), stands: true };
    let mut rig = Rig { control: Control::new(config(ONE), start, Nanos(0)), now: 0, reads: false };
    rig.give(Input::LinkUp(Peer { promised: 4, leading: None, relation: Relation::Same }));
    assert_eq!(rig.wait(500, Some(&old), true), []);
    rig.order(Order::Promote { reason: String::new(), approver: "ann".into() }).expect("taken");
    assert_eq!(promise(&rig.wait(100, Some(&old), true)), 6);
}

#[test]
fn late_answers_are_not_taken_for_those_of_another_swap() {
    let old = register(4, ONE, InSync::Only(ONE));
    let mut rig = Rig::primary(config(ONE), &old);
    rig.give(Input::InForce { rule: CommitRule::Joint, commit: Seq(200) });
    // The swap that lets the other in is asked for; before its answer the register shows it done, and the standby bids.
    let Some(swap) = &rig.control.swap else { panic!("no swap") };
    let joined = swap.to.clone();
    let seen = Seen { register: Some(joined.clone()), peer_lease: false };
    rig.reads = false;
    rig.control.view.reading = Some(Nanos(rig.now));
    rig.give(Input::Read(Some(seen)));
    assert_eq!(rig.leads_in(), joined);
    rig.give(Input::PeerRefused { promised: 20 });
    let outbid = rig.wait(400, Some(&joined), false);
    assert!(
        !outbid.iter().any(|action| matches!(action, Action::Swap { .. })),
        "one is not answered: {outbid:?}"
    );
    // The first one's answer is not the second one's.
    let second = rig.give(Input::Swapped(Swapped::Done));
    assert_eq!(rig.leads_in(), joined);
    let Some(Action::Swap { to, .. }) = second.last() else { panic!("{second:?}") };
    assert_eq!(to.epoch, 21);
}
