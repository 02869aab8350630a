"""All of AWS that SLIDR uses, on one machine: an emulator, and the seams where it must behave like the service."""
