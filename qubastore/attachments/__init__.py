"""Attachments: other stores, exports and tables that are queried and ranked in place, and exports of this store."""
