//! The program that the network driver runs on every frame that comes in: frames of our ports go to our
//! sockets, everything else goes on into the kernel (ARP, ICMP, SSH, other ports, fragments, and whatever
//! it cannot make out).
//!
//! It is a few dozen instructions of eBPF, generated for the addresses and ports at hand; no compiler is
//! needed, and the only map is the one of sockets. Instructions and calling convention: RFC 9669; helpers
//! and contexts: bpf-helpers(7), `linux/bpf.h`.

use std::net::{IpAddr, SocketAddr};

/// A flow of frames that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Destination address and port. An unspecified address is every address, port 0 every port.
    pub to: SocketAddr,
}

/// What is carried in IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Number 6.
    Tcp,
    /// Number 17.
    Udp,
}

impl Protocol {
    /// IANA's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// What the driver does with a frame (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// It is dropped and counted as an error.
    Aborted = 0,
    /// It is dropped.
    Drop = 1,
    /// It goes on into the kernel.
    Pass = 2,
    /// It goes to a socket.
    Redirect = 4,
}

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    opcode: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

// Opcodes (RFC 9669, section 4 and 5).
const LOAD_BYTE: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const LOAD_IMMEDIATE_64: u8 = 0x18;
const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const ADD_IMMEDIATE: u8 = 0x07;
const AND_IMMEDIATE: u8 = 0x57;
const JUMP: u8 = 0x05;
const JUMP_GREATER: u8 = 0x2d;
/// Of 32 bits, so that an immediate with its top bit set is not sign-extended.
const JUMP_EQUAL_32: u8 = 0x16;
const JUMP_NOT_EQUAL_32: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// The source of a 64-bit immediate that is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;
/// `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;

// Registers, by what they hold here. R0 is what is returned, R1 to R5 are lost in a call.
const RETURNED: u8 = 0;
const CONTEXT_IN: u8 = 1;
const DATA: u8 = 2;
const DATA_END: u8 = 3;
const LIMIT: u8 = 4;
const FIELD: u8 = 5;
const CONTEXT: u8 = 6;
const NETWORK: u8 = 7;
const PROTOCOL: u8 = 8;
const TRANSPORT: u8 = 9;

/// Offsets in the context (`struct xdp_md`).
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

/// The program that sends frames for `steered` to the socket that `sockets` (a map's descriptor) has for the
/// queue they came in by, and does `otherwise` with them where it has none.
///
/// # Panics
/// When `steered` is empty: the verifier takes no program with code that is never reached.
#[must_use]
pub fn program(steered: &[Steered], sockets: i32, otherwise: Action) -> Vec<Instruction> {
    assert!(!steered.is_empty(), "a program steers something");
    let mut code = Assembler::default();
    code.emit(MOVE, CONTEXT, CONTEXT_IN, 0, 0);
    code.emit(LOAD_WORD, DATA, CONTEXT_IN, CONTEXT_DATA, 0);
    code.emit(LOAD_WORD, DATA_END, CONTEXT_IN, CONTEXT_DATA_END, 0);
    code.emit(MOVE, NETWORK, DATA, 0, 0);
    code.emit(ADD_IMMEDIATE, NETWORK, 0, 0, 14);
    code.pass_beyond_end(NETWORK);
    code.emit(LOAD_HALF, FIELD, DATA, 12, 0);
    // Up to two tags, of 802.1Q or 802.1ad.
    for tag in 0..2 {
        let (tagged, untagged) = (Label::Tagged(tag), Label::Untagged(tag));
        code.jump_if_equal(FIELD, network_order(0x8100), tagged);
        code.jump_if_equal(FIELD, network_order(0x88a8), tagged);
        code.jump(untagged);
        code.label(tagged);
        code.emit(MOVE, LIMIT, NETWORK, 0, 0);
        code.emit(ADD_IMMEDIATE, LIMIT, 0, 0, 4);
        code.pass_beyond_end(LIMIT);
        code.emit(LOAD_HALF, FIELD, NETWORK, 2, 0);
        code.emit(ADD_IMMEDIATE, NETWORK, 0, 0, 4);
        code.label(untagged);
    }
    code.jump_if_equal(FIELD, network_order(0x0800), Label::V4);
    code.jump_if_equal(FIELD, network_order(0x86dd), Label::V6);
    code.jump(Label::Pass);

    code.label(Label::V4);
    code.emit(MOVE, TRANSPORT, NETWORK, 0, 0);
    code.emit(ADD_IMMEDIATE, TRANSPORT, 0, 0, 20);
    code.pass_beyond_end(TRANSPORT);
    // Version 4 with a header of five words: options are rare enough to be the kernel's.
    code.emit(LOAD_BYTE, FIELD, NETWORK, 0, 0);
    code.jump_if_not_equal(FIELD, 0x45, Label::Pass);
    // More fragments, or an offset.
    code.emit(LOAD_HALF, FIELD, NETWORK, 6, 0);
    code.emit(AND_IMMEDIATE, FIELD, 0, 0, network_order(0x3fff));
    code.jump_if_not_equal(FIELD, 0, Label::Pass);
    code.emit(LOAD_BYTE, PROTOCOL, NETWORK, 9, 0);
    code.steer(steered, 16, |address| match address {
        IpAddr::V4(address) => Some(vec![i32::from_ne_bytes(address.octets())]),
        IpAddr::V6(_) => None,
    });

    code.label(Label::V6);
    code.emit(MOVE, TRANSPORT, NETWORK, 0, 0);
    code.emit(ADD_IMMEDIATE, TRANSPORT, 0, 0, 40);
    code.pass_beyond_end(TRANSPORT);
    // An extension header, a fragment's among them, is neither TCP nor UDP.
    code.emit(LOAD_BYTE, PROTOCOL, NETWORK, 6, 0);
    code.steer(steered, 24, |address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let words = address.octets();
            let word = |at: usize| i32::from_ne_bytes(words[at..at + 4].try_into().expect("four bytes"));
            Some(vec![word(0), word(4), word(8), word(12)])
        }
    });

    code.label(Label::Ours);
    code.emit(LOAD_WORD, DATA, CONTEXT, CONTEXT_QUEUE, 0);
    code.emit(LOAD_IMMEDIATE_64, CONTEXT_IN, PSEUDO_MAP_FD, 0, sockets);
    code.emit(0, 0, 0, 0, 0);
    code.emit(MOVE_IMMEDIATE, DATA_END, 0, 0, otherwise as i32);
    code.emit(CALL, 0, 0, 0, REDIRECT_MAP);
    code.emit(EXIT, 0, 0, 0, 0);
    code.label(Label::Pass);
    code.emit(MOVE_IMMEDIATE, RETURNED, 0, 0, Action::Pass as i32);
    code.emit(EXIT, 0, 0, 0, 0);
    code.finish()
}

/// What a load of two bytes makes of a field on this machine.
fn network_order(field: u16) -> i32 {
    i32::from(field.to_be())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Tagged(u8),
    Untagged(u8),
    V4,
    V6,
    /// Behind the comparison with one of the flows; the first number tells the versions apart.
    Next(i16, usize),
    Ours,
    Pass,
}

/// Instructions, and jumps whose goals are not known yet.
#[derive(Debug, Default)]
struct Assembler {
    code: Vec<Instruction>,
    labels: Vec<(Label, usize)>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn emit(&mut self, opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { opcode, registers: from << 4 | to, offset, immediate });
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP, 0, 0, 0, 0);
    }

    fn jump_if_equal(&mut self, register: u8, immediate: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_EQUAL_32, register, 0, 0, immediate);
    }

    fn jump_if_not_equal(&mut self, register: u8, immediate: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_NOT_EQUAL_32, register, 0, 0, immediate);
    }

    /// The verifier lets nothing be read that was not compared with the end like this.
    fn pass_beyond_end(&mut self, pointer: u8) {
        self.jumps.push((self.code.len(), Label::Pass));
        self.emit(JUMP_GREATER, pointer, DATA_END, 0, 0);
    }

    /// To [`Label::Ours`] if the frame is for one of `steered` whose address has `words` in this version of
    /// IP, its destination `at` bytes into the header; otherwise it passes.
    fn steer(&mut self, steered: &[Steered], at: i16, words: impl Fn(IpAddr) -> Option<Vec<i32>>) {
        self.emit(MOVE, LIMIT, TRANSPORT, 0, 0);
        self.emit(ADD_IMMEDIATE, LIMIT, 0, 0, 4);
        self.pass_beyond_end(LIMIT);
        for (index, flow) in steered.iter().enumerate() {
            let Some(words) = words(flow.to.ip()) else { continue };
            let next = Label::Next(at, index);
            self.jump_if_not_equal(PROTOCOL, i32::from(flow.protocol.number()), next);
            if flow.to.port() != 0 {
                self.emit(LOAD_HALF, FIELD, TRANSPORT, 2, 0);
                self.jump_if_not_equal(FIELD, network_order(flow.to.port()), next);
            }
            if !flow.to.ip().is_unspecified() {
                for (word, offset) in words.into_iter().zip((at..).step_by(4)) {
                    self.emit(LOAD_WORD, FIELD, NETWORK, offset, 0);
                    self.jump_if_not_equal(FIELD, word, next);
                }
            }
            self.jump(Label::Ours);
            self.label(next);
        }
        self.jump(Label::Pass);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let goal = self.labels.iter().find(|(name, _)| *name == label).expect("every label is placed").1;
            let offset = goal - from - 1;
            self.code[from].offset = i16::try_from(offset).expect("the program is short");
        }
        self.code
    }
}
