//! The model gateway: who may ask which model, at whose expense, and how the answer comes back byte for byte.
