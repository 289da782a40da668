//! What stands alone on a wire: numbers, texts, bytes, a message in a box.

use crate::codec::Error;

use super::field::{Form, Key, Kind, Reader, Value, Writer};
use super::schema::{Registry, Type};
use super::{Blob, Message};

macro_rules! scalars {
    ($($type:ty, $kind:ident, $zero:expr, |$value:ident, $form:ident, $to:ident| $put:expr, |$from:ident| $take:expr;)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;
            fn empty() -> Self {
                $zero
            }
            #[inline]
            fn is_zero(&self) -> bool {
                *self == $zero
            }
            #[inline]
            fn put<W: Writer>(&self, $form: Form, $to: &mut W) -> Result<(), Error> {
                let $value = *self;
                $put
            }
            #[inline]
            fn take<R: Reader>(&mut self, $form: Form, $from: &mut R) -> Result<(), Error> {
                *self = $take;
                Ok(())
            }
            fn describe(form: Form, _: &mut Registry) -> Type {
                Type::Scalar(Kind::$kind, form)
            }
        }
    )*};
}

macro_rules! integers {
    ($($type:ty, $kind:ident, $method:ident;)*) => {
        scalars! {$(
            $type, $kind, 0, |value, form, to| to.$method(Kind::$kind, form, value.into()),
            |from| <$type>::try_from(from.$method(Kind::$kind, form)?).map_err(|_| out_of_range())?;
        )*}
        $(impl Key for $type {})*
    };
}

/// Readers give what fits; this is for one that does not.
#[cold]
fn out_of_range() -> Error {
    Error::body("", "the number is out of range")
}

integers! {
    i8, I8, int;
    i16, I16, int;
    i32, I32, int;
    i64, I64, int;
    u8, U8, uint;
    u16, U16, uint;
    u32, U32, uint;
    u64, U64, uint;
}

scalars! {
    bool, Bool, false, |value, _form, to| to.bool(value), |from| from.bool()?;
}

macro_rules! floats {
    ($($type:ty, $kind:ident, $method:ident;)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;
            fn empty() -> Self {
                0.0
            }
            fn is_zero(&self) -> bool {
                // Minus nought is a value of its own.
                self.to_bits() == 0
            }
            fn put<W: Writer>(&self, _: Form, to: &mut W) -> Result<(), Error> {
                to.$method(*self)
            }
            fn take<R: Reader>(&mut self, _: Form, from: &mut R) -> Result<(), Error> {
                *self = from.$method()?;
                Ok(())
            }
            fn describe(form: Form, _: &mut Registry) -> Type {
                Type::Scalar(Kind::$kind, form)
            }
        }
    )*};
}

floats! {
    f32, F32, f32;
    f64, F64, f64;
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn empty() -> Self {
        Self::new()
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn put<W: Writer>(&self, _: Form, to: &mut W) -> Result<(), Error> {
        to.bytes(self.as_bytes())
    }

    #[inline]
    fn take<R: Reader>(&mut self, _: Form, from: &mut R) -> Result<(), Error> {
        from.text()?.clone_into(self);
        Ok(())
    }

    fn describe(form: Form, _: &mut Registry) -> Type {
        Type::Scalar(Kind::Text, form)
    }
}

impl Key for String {}

impl Value for Blob {
    const KIND: Kind = Kind::Blob;

    fn empty() -> Self {
        Self::default()
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn put<W: Writer>(&self, _: Form, to: &mut W) -> Result<(), Error> {
        to.bytes(self)
    }

    fn take<R: Reader>(&mut self, _: Form, from: &mut R) -> Result<(), Error> {
        *self = from.bytes()?.into();
        Ok(())
    }

    fn describe(form: Form, _: &mut Registry) -> Type {
        Type::Scalar(Kind::Blob, form)
    }
}

impl<M: Message> Value for Box<M> {
    const KIND: Kind = Kind::Message;

    fn empty() -> Self {
        Self::new(M::empty())
    }

    fn is_zero(&self) -> bool {
        true
    }

    fn put<W: Writer>(&self, _: Form, to: &mut W) -> Result<(), Error> {
        to.message(|to| self.write_fields(to))
    }

    fn take<R: Reader>(&mut self, _: Form, from: &mut R) -> Result<(), Error> {
        from.charge(size_of::<M>())?;
        from.message(|number, from| self.read_field(number, from))
    }

    fn describe(_: Form, registry: &mut Registry) -> Type {
        registry.message::<M>()
    }
}
