// SPDX-License-Identifier: EUPL-1.2
//! End-to-end tests.
