//! IANA "IKEv2 Parameters": numbers that stand on the wire. A value this code does not know keeps its number, so that it
//! survives a round trip.

macro_rules! registry {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        ///
        /// Made by `from_wire` only: `Unknown` never holds a number that has a name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ Unknown($repr) }

        impl $name {
            pub const fn from_wire(value: $repr) -> Self {
                match value { $($value => Self::$variant,)+ other => Self::Unknown(other) }
            }

            pub const fn to_wire(self) -> $repr {
                match self { $(Self::$variant => $value,)+ Self::Unknown(other) => other }
            }
        }
    };
}

registry! {
    /// RFC 7296 §3.1.
    ExchangeType: u8 {
        IkeSaInit = 34,
        IkeAuth = 35,
        CreateChildSa = 36,
        Informational = 37,
    }
}

registry! {
    /// RFC 7296 §3.2. `Skf` (RFC 7383) is named so that it is refused by name.
    PayloadType: u8 {
        /// "No Next Payload".
        None = 0,
        Sa = 33,
        Ke = 34,
        IdInitiator = 35,
        IdResponder = 36,
        Certificate = 37,
        CertificateRequest = 38,
        Auth = 39,
        Nonce = 40,
        Notify = 41,
        Delete = 42,
        VendorId = 43,
        TsInitiator = 44,
        TsResponder = 45,
        Encrypted = 46,
        Configuration = 47,
        Eap = 48,
        Skf = 53,
    }
}

registry! {
    /// RFC 7296 §3.3.1.
    Protocol: u8 {
        /// Notify without a protocol.
        None = 0,
        Ike = 1,
        Ah = 2,
        Esp = 3,
    }
}

impl From<culvert_model::IpsecProtocol> for Protocol {
    fn from(protocol: culvert_model::IpsecProtocol) -> Self {
        match protocol {
            culvert_model::IpsecProtocol::Esp => Self::Esp,
            culvert_model::IpsecProtocol::Ah => Self::Ah,
        }
    }
}

registry! {
    /// RFC 7296 §3.3.2; type 4 by its name of RFC 9370.
    TransformType: u8 {
        Encryption = 1,
        Prf = 2,
        Integrity = 3,
        KeyExchange = 4,
        Esn = 5,
    }
}

registry! {
    /// RFC 7296 §3.8, RFC 7427.
    AuthMethod: u8 {
        RsaSignature = 1,
        SharedKeyMic = 2,
        DssSignature = 3,
        EcdsaSha256P256 = 9,
        EcdsaSha384P384 = 10,
        EcdsaSha512P521 = 11,
        Null = 13,
        DigitalSignature = 14,
    }
}

registry! {
    /// RFC 7296 §3.6.
    CertificateEncoding: u8 {
        Pkcs7 = 1,
        X509Signature = 4,
        Crl = 7,
        X509HashAndUrl = 12,
        X509BundleHashAndUrl = 13,
        RawPublicKey = 15,
    }
}

registry! {
    /// RFC 7296 §3.15.
    ConfigurationKind: u8 {
        Request = 1,
        Reply = 2,
        Set = 3,
        Ack = 4,
    }
}

registry! {
    /// RFC 7296 §3.10.1 and the status types of the RFCs that real peers send unasked. Below 16384 is an error.
    NotifyType: u16 {
        UnsupportedCriticalPayload = 1,
        InvalidIkeSpi = 4,
        InvalidMajorVersion = 5,
        InvalidSyntax = 7,
        InvalidMessageId = 9,
        InvalidSpi = 11,
        NoProposalChosen = 14,
        InvalidKePayload = 17,
        AuthenticationFailed = 24,
        SinglePairRequired = 34,
        NoAdditionalSas = 35,
        InternalAddressFailure = 36,
        FailedCpRequired = 37,
        TsUnacceptable = 38,
        InvalidSelectors = 39,
        /// RFC 4555.
        UnacceptableAddresses = 40,
        /// RFC 4555.
        UnexpectedNatDetected = 41,
        TemporaryFailure = 43,
        ChildSaNotFound = 44,

        InitialContact = 16384,
        SetWindowSize = 16385,
        AdditionalTsPossible = 16386,
        IpcompSupported = 16387,
        NatDetectionSourceIp = 16388,
        NatDetectionDestinationIp = 16389,
        Cookie = 16390,
        UseTransportMode = 16391,
        HttpCertLookupSupported = 16392,
        RekeySa = 16393,
        EspTfcPaddingNotSupported = 16394,
        NonFirstFragmentsAlso = 16395,
        /// RFC 4555.
        MobikeSupported = 16396,
        /// RFC 4555.
        AdditionalIp4Address = 16397,
        /// RFC 4555.
        AdditionalIp6Address = 16398,
        /// RFC 4555.
        NoAdditionalAddresses = 16399,
        /// RFC 4555.
        UpdateSaAddresses = 16400,
        /// RFC 4555.
        Cookie2 = 16401,
        /// RFC 4478.
        AuthLifetime = 16403,
        /// RFC 4739.
        MultipleAuthSupported = 16404,
        /// RFC 5685.
        RedirectSupported = 16406,
        /// RFC 5998.
        EapOnlyAuthentication = 16417,
        /// RFC 6023.
        ChildlessIkev2Supported = 16418,
        /// RFC 6311.
        Ikev2MessageIdSyncSupported = 16420,
        /// RFC 7383.
        Ikev2FragmentationSupported = 16430,
        /// RFC 7427.
        SignatureHashAlgorithms = 16431,
        /// RFC 8784.
        UsePpk = 16435,
        /// RFC 9242.
        IntermediateExchangeSupported = 16438,
    }
}

impl NotifyType {
    /// RFC 7296 §3.10.1: types below 16384 report errors.
    pub const fn is_error(self) -> bool {
        self.to_wire() < 16384
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives() {
        for n in 0..=u16::MAX {
            assert_eq!(NotifyType::from_wire(n).to_wire(), n);
        }
        for n in 0..=u8::MAX {
            assert_eq!(PayloadType::from_wire(n).to_wire(), n);
            assert_eq!(ExchangeType::from_wire(n).to_wire(), n);
        }
    }

    /// RFC 7296 §3.2 lists them without a gap.
    #[test]
    fn payload_types_stand_in_order() {
        use PayloadType as P;
        let list = [
            P::Sa,
            P::Ke,
            P::IdInitiator,
            P::IdResponder,
            P::Certificate,
            P::CertificateRequest,
            P::Auth,
            P::Nonce,
            P::Notify,
            P::Delete,
            P::VendorId,
            P::TsInitiator,
            P::TsResponder,
            P::Encrypted,
            P::Configuration,
            P::Eap,
        ];
        assert!(list.into_iter().map(P::to_wire).eq(33..=48));
    }

    #[test]
    fn errors_are_below_16384() {
        assert!(NotifyType::ChildSaNotFound.is_error());
        assert!(NotifyType::Unknown(16383).is_error());
        assert!(!NotifyType::InitialContact.is_error());
    }
}
