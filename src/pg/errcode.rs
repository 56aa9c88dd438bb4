//! SQLSTATEs as PostgreSQL packs them: five characters, six bits each, the first one lowest.

/// Whether an SQLSTATE is of the class that its first two characters name.
pub fn is_of_class(sqlstate: i32, class: [u8; 2]) -> bool {
    let bits = |character: u8| i32::from(character.wrapping_sub(b'0')) & 0x3f;
    sqlstate & 0xfff == bits(class[0]) | bits(class[1]) << 6
}
