// SPDX-License-Identifier: EUPL-1.2
//! Registers by configuration alone: SQL and CSV.
