"""What the CRM gets of a call: which contact it belongs to, and the engagement that logs it there, once."""
