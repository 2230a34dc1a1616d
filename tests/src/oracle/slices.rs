//! Stage 1 of the naive engine: mass cancels, and all else that cancels in slices; order entry switches;
//! dead-man timers.

use std::collections::VecDeque;

use ironbell_types::{
    CancelReason, ClOrdId, Command, DeadMan, EventBody, InstrumentId, KillScope, MassCancel, MassCancelSlice,
    Nanos, OrderEntrySwitch, OrderKey, OrderRef, PortId, Reject, Seq, Sequenced, TimeInForce,
};

use super::{Oracle, Order, Said};

/// Which orders go.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// Those of a member's mass cancel.
    Requested(MassCancel),
    /// Those that a kill switch, a logout, a dead-man timer or a delisting is about.
    Killed(KillScope),
    /// What the day's end ends.
    DayEnd,
}

/// Slices of one command that are not all done.
pub(super) struct Pending {
    pub(super) cause: Seq,
    pub(super) slice: u32,
    /// What is to do, the first now.
    wanted: VecDeque<Wanted>,
    /// The instrument that the slice works on.
    instrument: InstrumentId,
    /// Whether the slice just done left orders on its instrument.
    some_remain: bool,
}

impl Wanted {
    /// The one instrument it is about.
    fn only(&self) -> Option<InstrumentId> {
        match self {
            Self::Requested(request) => Some(request.instrument).filter(|&i| i != InstrumentId::NONE),
            Self::Killed(KillScope::Instrument(instrument)) => Some(*instrument),
            Self::Killed(_) | Self::DayEnd => None,
        }
    }

    fn first(&self) -> InstrumentId {
        self.only().unwrap_or(InstrumentId(1))
    }

    fn means(&self, order: &Order) -> bool {
        match self {
            Self::Requested(request) => {
                let group = order.accepted.options.group;
                let is_of_group = match request.group {
                    None => true,
                    Some(0) => group.is_none_or(|g| g == 0),
                    Some(_) => group == request.group,
                };
                order.firm == request.firm
                    && is_of_group
                    && request.side.is_none_or(|side| side == order.side)
            }
            Self::Killed(KillScope::Port(port)) => order.key.port() == *port,
            Self::Killed(KillScope::Firm(firm)) => order.firm == *firm,
            Self::Killed(KillScope::Instrument(_) | KillScope::Venue) => true,
            Self::DayEnd => !matches!(order.accepted.time_in_force, TimeInForce::Gtt | TimeInForce::Gtc),
        }
    }

    fn reason(&self) -> CancelReason {
        match self {
            Self::Requested(_) | Self::Killed(_) => CancelReason::Supervisory,
            Self::DayEnd => CancelReason::Closed,
        }
    }
}

impl Oracle {
    pub(super) fn mass_cancel(&mut self, request: &MassCancel, said: &mut Said) {
        let MassCancel { port, user_ref_idx, user_ref_num, .. } = *request;
        if !self.is_fresh(port, user_ref_idx, user_ref_num) {
            return;
        }
        self.consume(port, user_ref_idx, user_ref_num);
        let firm = self.port(port).expect("the port was just found").port.firm;
        let names_none = request.instrument == InstrumentId::NONE;
        let refused = if request.fault.is_some() {
            request.fault
        } else if let Err(reason) = self.take_token(port, said.time()) {
            Some(reason)
        } else if request.firm != firm {
            Some(Reject::FirmNotAuthorized)
        } else if !names_none && self.instrument(request.instrument).is_none() {
            Some(Reject::Symbol)
        } else {
            None
        };
        if let Some(reason) = refused {
            let key = OrderKey::new(port, user_ref_idx, user_ref_num);
            return said.risk(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
        }
        said.risk(EventBody::MassCancelAccepted(*request));
        self.cancel_in_slices(vec![Wanted::Requested(*request)], said);
    }

    /// Stage 1 wants orders cancelled.
    pub(super) fn cancel_in_slices(&mut self, wanted: Vec<Wanted>, said: &mut Said) {
        if let Some(asked) = self.ask_for_slices(wanted, said.seq()) {
            said.risk(asked);
        }
    }

    /// Notes what is to do; what is said of it, if there is anything to do.
    pub(super) fn ask_for_slices(&mut self, wanted: Vec<Wanted>, cause: Seq) -> Option<EventBody> {
        let instrument = wanted.first()?.first();
        self.instrument(instrument)?;
        self.slices.push(Pending { cause, slice: 0, wanted: wanted.into(), instrument, some_remain: false });
        Some(EventBody::MassCancelAsked { cause, slice: 0 })
    }

    fn due(&self, slice: &MassCancelSlice) -> Option<usize> {
        self.slices.iter().position(|p| p.cause == slice.cause && p.slice == slice.slice)
    }

    pub(super) fn slice(&mut self, slice: &MassCancelSlice, said: &mut Said) {
        let Some(at) = self.due(slice) else { return };
        let Pending { cause, instrument, ref wanted, .. } = self.slices[at];
        let wanted = wanted[0];
        let entered_before = OrderRef::new(cause, 0);
        let meant = |order: &Order| order.order_ref < entered_before && wanted.means(order);
        let some_remain = self.books.slice(instrument, meant, wanted.reason(), said);
        self.slices[at].some_remain = some_remain;
    }

    /// After a slice: asks for the next one, if something is left to do.
    pub(super) fn ask_for_next(&mut self, slice: &MassCancelSlice, said: &mut Said) {
        let Some(at) = self.due(slice) else { return };
        let pending = &self.slices[at];
        let present = pending.instrument;
        let following = Some(InstrumentId(present.0 + 1));
        let next = if pending.some_remain {
            Some(present)
        } else if pending.wanted[0].only().is_none() {
            following.filter(|&i| self.instrument(i).is_some())
        } else {
            None
        };
        let pending = &mut self.slices[at];
        if next.is_none() {
            pending.wanted.pop_front();
        }
        let Some(instrument) = next.or_else(|| pending.wanted.front().map(Wanted::first)) else {
            self.slices.remove(at);
            return;
        };
        pending.instrument = instrument;
        pending.some_remain = false;
        pending.slice += 1;
        said.settlement(EventBody::MassCancelAsked { cause: pending.cause, slice: pending.slice });
    }

    pub(super) fn switch_order_entry(&mut self, asked: &OrderEntrySwitch, disable: bool, said: &mut Said) {
        let (port, idx, num) = (asked.port, asked.user_ref_idx, asked.user_ref_num);
        if !self.is_fresh(port, idx, num) {
            return;
        }
        self.consume(port, idx, num);
        let firm = self.port(port).expect("the port was just found").port.firm;
        let not_own = (asked.firm != firm).then_some(Reject::FirmNotAuthorized);
        said.risk(match asked.fault.or(not_own) {
            Some(reason) => {
                let (key, cl_ord_id) = (OrderKey::new(port, idx, num), ClOrdId::default());
                EventBody::Rejected { key, reason, cl_ord_id }
            }
            None if disable => {
                self.disabled.insert(asked.firm);
                EventBody::OrderEntryDisabled(*asked)
            }
            None => {
                self.disabled.remove(&asked.firm);
                EventBody::OrderEntryEnabled(*asked)
            }
        });
    }
}

// Dead-man timers.

/// The port that a member's command came from.
fn sender(command: &Command) -> Option<PortId> {
    match command {
        Command::EnterOrder(it) => Some(it.port),
        Command::ReplaceOrder(it) => Some(it.port),
        Command::CancelOrder(it) => Some(it.port),
        Command::ModifyOrder(it) => Some(it.port),
        Command::Quote(it) => Some(it.port),
        Command::MassCancel(it) => Some(it.port),
        Command::DisableOrderEntry(it) | Command::EnableOrderEntry(it) => Some(it.port),
        Command::AccountQuery(it) => Some(it.port),
        Command::OrderStateQuery(it) => Some(it.port),
        Command::DeadMan(it) => Some(it.port),
        _ => None,
    }
}

impl Oracle {
    /// Sets the port's dead-man timer back.
    pub(super) fn hear(&mut self, command: &Sequenced) {
        if let Some(state) = sender(&command.command).and_then(|port| self.port_mut(port)) {
            state.heard = command.time;
        }
    }

    pub(super) fn set_dead_man(&mut self, timer: &DeadMan, said: &mut Said) {
        let DeadMan { port, timeout_ns } = *timer;
        if self.port(port).is_none() {
            return;
        }
        let goes_through = self.take_token(port, said.time()).is_ok();
        let state = self.port_mut(port).expect("the port was just found");
        if goes_through {
            state.timeout_ns = Some(timeout_ns).filter(|&timeout_ns| timeout_ns != 0);
        }
        let in_force = state.timeout_ns.unwrap_or(0);
        said.risk(EventBody::DeadManSet { port, timeout_ns: in_force });
    }

    /// Dead men's timers, then graces.
    pub(super) fn expire_ports(&mut self, said: &mut Said) {
        let mut wanted = Vec::new();
        for state in &mut self.ports {
            let Some(timeout_ns) = state.timeout_ns else { continue };
            if said.time() >= Nanos(state.heard.0.saturating_add(timeout_ns)) {
                state.timeout_ns = None;
                said.risk(EventBody::DeadManExpired { port: state.port.id });
                wanted.push(Wanted::Killed(KillScope::Port(state.port.id)));
            }
        }
        for state in &mut self.ports {
            if state.grace_end.is_some_and(|end| said.time() >= end) {
                (state.logged_in, state.grace_end) = (false, None);
                said.risk(EventBody::LoggedOut { port: state.port.id, incarnation: state.incarnation });
                if state.rules.cancels_on_disconnect {
                    wanted.push(Wanted::Killed(KillScope::Port(state.port.id)));
                }
            }
        }
        self.cancel_in_slices(wanted, said);
    }
}
