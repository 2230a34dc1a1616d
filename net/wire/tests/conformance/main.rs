//! The codecs against what others say of the protocols: the layout tables, byte vectors, and
//! independent readers (tshark, the crate `itch5`, PyPI `itchfeed`).

mod support;

mod damage;
mod itch5_agreement;
mod layouts;
mod mold;
mod native;
mod readers;
mod round_trip;
mod soup;
mod tshark;
mod vectors;
