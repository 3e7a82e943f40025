//! A feed server that misbehaves on demand.
