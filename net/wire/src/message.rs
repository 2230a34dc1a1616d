//! What every message is: a struct of big-endian fields behind a type byte.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A message whose memory is its wire form, without any appendage; `as_bytes` ([`IntoBytes`]) encodes it.
pub trait Message: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy {
    /// Its type byte.
    const TYPE: u8;
    /// Its name.
    const NAME: &'static str;
    /// Its fields in order, without gaps, the type byte first.
    const FIELDS: &'static [Field];
}

/// Where a field stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its first byte, counted from the type byte.
    pub offset: usize,
    /// Its length in bytes.
    pub size: usize,
}

/// Declares one message: the type byte, the struct's name, its size from the tables, its fields.
macro_rules! message {
    (
        $(#[$doc:meta])* $code:literal $name:ident $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
        #[derive(zerocopy::KnownLayout, zerocopy::Unaligned)]
        #[repr(C)]
        pub struct $name {
            /// The type byte.
            pub message_type: $crate::Type<$code>,
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        impl $crate::Message for $name {
            const TYPE: u8 = $code;
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [$crate::Field] = &[
                $crate::Field { name: "message_type", offset: 0, size: 1 },
                $($crate::Field {
                    name: stringify!($field),
                    offset: core::mem::offset_of!($name, $field),
                    size: size_of::<$ty>(),
                },)*
            ];
        }
    };
}
