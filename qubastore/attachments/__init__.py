"""Attachments: other stores, exports and tables that are asked and ranked where they are, and exports of this one."""
