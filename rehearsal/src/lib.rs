//! The rehearsal: a scripted model that needs no key, its script language, and servers that speak it on the vendors' wires.
