//! `SubjectPublicKeyInfo`: which kind of key a DER holds, and whether its size is acceptable.
//!
//! Strict DER only, so that one key has one text and one fingerprint.

use super::KeyError;
use ed25519_dalek::pkcs8::ObjectIdentifier;
use ed25519_dalek::pkcs8::spki::SubjectPublicKeyInfoRef;
use ed25519_dalek::pkcs8::spki::der::asn1::{AnyRef, UintRef};
use ed25519_dalek::pkcs8::spki::der::{Decode, Reader, SliceReader};

/// What was found.
pub(super) enum Key {
    Ed25519([u8; 32]),
    Rsa {
        bits: usize,
        /// Odd modulus and an odd exponent between 3 and 2^33.
        plausible: bool,
    },
    P256,
}

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The DER in front of the 32 raw bytes of an Ed25519 key.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub(super) fn ed25519_der(raw: &[u8; 32]) -> Vec<u8> {
    [&ED25519_PREFIX[..], raw].concat()
}

pub(super) fn read(der: &[u8]) -> Result<Key, KeyError> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Structure)?;
    let bits = info.subject_public_key.as_bytes().ok_or(KeyError::Structure)?;
    let parameters = info.algorithm.parameters;
    match info.algorithm.oid {
        ED25519 if parameters.is_none() => bits.try_into().map(Key::Ed25519).map_err(|_| KeyError::Structure),
        RSA if parameters == Some(AnyRef::NULL) => rsa(bits).ok_or(KeyError::Structure),
        EC => {
            let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            let uncompressed = bits.len() == 65 && bits[0] == 4;
            if curve == Some(P256) && uncompressed { Ok(Key::P256) } else { Err(KeyError::WrongCurve) }
        }
        ED25519 | RSA => Err(KeyError::Structure),
        _ => Err(KeyError::UnknownAlgorithm),
    }
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`
fn rsa(der: &[u8]) -> Option<Key> {
    let mut reader = SliceReader::new(der).ok()?;
    let (modulus, exponent) = reader
        .sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .and_then(|found| reader.finish().map(|()| found))
        .ok()?;
    let (modulus, exponent) = (modulus.as_bytes(), exponent.as_bytes());
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let exponent = exponent.iter().try_fold(0u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)));
    let odd = modulus.last().is_some_and(|byte| byte % 2 == 1);
    let plausible = odd && exponent.is_some_and(|e| e % 2 == 1 && (3..1 << 33).contains(&e));
    Some(Key::Rsa { bits, plausible })
}
