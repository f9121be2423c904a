// SPDX-License-Identifier: EUPL-1.2
//! What an authority links: resolve, sign, seal, send, verify, open, report.
