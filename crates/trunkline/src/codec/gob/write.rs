//! Writes the value of a message.

use trunkline_wire::gob::{self as wire};

use super::layout::{Layout, Place};
use super::{CODEC, Error};
use crate::message::{self, Form, Kind, Spec};

/// Writes the fields of the layout's first message, and their end.
pub(super) fn fields(
    layout: &Layout,
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut to = Writer { out, layout, places: &[], at: 0, sent: 0, target: 0, bare: false };
    message::Writer::message(&mut to, fields)
}

pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    layout: &'a Layout,
    /// The fields of the message that is being written.
    places: &'a [Place],
    /// The index of the field that comes next.
    at: usize,
    /// The index of the field that was sent last, plus one.
    sent: usize,
    /// The message that the present field holds.
    target: usize,
    /// The elements of a list of bytes stand as they are.
    bare: bool,
}

impl Writer<'_> {
    /// Finds the field, which comes after those before; an option that is not there never came.
    #[inline]
    fn find(&mut self, spec: &Spec<'_>) -> Result<(), Error> {
        while let Some(place) = self.places.get(self.at) {
            self.at = self.at.saturating_add(1);
            if place.number == spec.number {
                self.target = place.message;
                return Ok(());
            }
        }
        Err(Error::encode(CODEC, "a field that the schema does not have"))
    }

    /// Says that the field found last is sent: how many further it is than the one before.
    #[inline]
    fn head(&mut self) {
        let delta = self.at.saturating_sub(self.sent);
        self.sent = self.at;
        wire::put_uint(delta as u64, self.out);
    }
}

impl message::Writer for Writer<'_> {
    #[inline]
    fn one(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        zero: bool,
        put: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.find(spec)?;
        // As Go has it: a struct is sent even where all of it is zero.
        if zero && kind != Kind::Message {
            return Ok(());
        }
        self.head();
        put(self)
    }

    fn list<T>(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        mut items: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.find(spec)?;
        if items.len() == 0 {
            return Ok(());
        }
        self.head();
        wire::put_uint(items.len() as u64, self.out);
        self.bare = kind == Kind::U8;
        let done = items.try_for_each(|item| put(self, item));
        self.bare = false;
        done
    }

    fn map<K, V>(
        &mut self,
        spec: &Spec<'_>,
        _: (Kind, Kind),
        mut entries: impl ExactSizeIterator<Item = (K, V)>,
        mut key: impl FnMut(&mut Self, K) -> Result<(), Error>,
        mut value: impl FnMut(&mut Self, V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.find(spec)?;
        if entries.len() == 0 {
            return Ok(());
        }
        self.head();
        wire::put_uint(entries.len() as u64, self.out);
        entries.try_for_each(|(k, v)| {
            key(self, k)?;
            value(self, v)
        })
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.push(u8::from(value));
        Ok(())
    }

    #[inline]
    fn int(&mut self, _: Kind, _: Form, value: i64) -> Result<(), Error> {
        wire::put_int(value, self.out);
        Ok(())
    }

    #[inline]
    fn uint(&mut self, _: Kind, _: Form, value: u64) -> Result<(), Error> {
        match u8::try_from(value) {
            Ok(byte) if self.bare => self.out.push(byte),
            _ => wire::put_uint(value, self.out),
        }
        Ok(())
    }

    fn f32(&mut self, value: f32) -> Result<(), Error> {
        self.f64(value.into())
    }

    fn f64(&mut self, value: f64) -> Result<(), Error> {
        wire::put_float(value, self.out);
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, value: &[u8]) -> Result<(), Error> {
        wire::put_bytes(value, self.out);
        Ok(())
    }

    #[inline]
    fn message(&mut self, fields: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let around = (self.places, self.at, self.sent, self.target);
        let layout = self.layout;
        (self.places, self.at, self.sent) = (layout.places(self.target), 0, 0);
        fields(self)?;
        self.out.push(0);
        (self.places, self.at, self.sent, self.target) = around;
        Ok(())
    }
}
