//! What may go wrong, by stage: `Refusal` before permission and at it, `Failure` while acting.

use std::borrow::Cow;
use std::panic::Location;

use crate::untrusted::Broken;
use crate::upload::Short;

macro_rules! exceptions {
    ($($name:ident),+ $(,)?) => {
        /// The classes of exceptions that clients know by name (spec 10 §1.7).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are the wire's own")]
        pub enum Exception { $($name),+ }

        impl Exception {
            /// The bare class name on the wire.
            pub const fn class(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The class of that name.
            pub fn of_class(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

exceptions!(
    ProtocolError,
    PermissionDenied,
    QubesException,
    QubesVMNotFoundError,
    QubesVMInvalidUUIDError,
    QubesVMAlreadyExistsError,
    QubesVMError,
    QubesVMInUseError,
    QubesVMNotStartedError,
    QubesVMNotRunningError,
    QubesVMNotPausedError,
    QubesVMShutdownTimeoutError,
    QubesVMNotHaltedError,
    QubesMemoryError,
    QubesValueError,
    QubesPropertyValueError,
    QubesNoSuchPropertyError,
    QubesFeatureNotFoundError,
    QubesTagNotFoundError,
    QubesLabelNotFoundError,
    QubesLabelInUseError,
    QubesInvalidTagError,
    QubesInvalidLabelError,
    QubesInvalidLabelValueError,
    QubesPoolInUseError,
    StoragePoolException,
    QubesNotImplementedError,
    QubesBackupProfileNotFoundError,
    BackupAlreadyRunningError,
    BackupCancelledError,
    QubesVolumeCopyTokenNotFoundError,
    DeviceAlreadyAssigned,
    DeviceAlreadyAttached,
    DeviceNotAssigned,
    DeviceNotFound,
    UnrecognizedDevice,
    QubesUnrecognizedDeviceAssignmentMode,
    QubesUSBException,
    USBProxyNotInstalled,
    QVCNotInstalled,
    PolicyAdminProtocolException,
    PolicyAdminInvalidFileNameException,
    PolicyAdminInvalidFilePathException,
    PolicyAdminFileNotFoundException,
    PolicyAdminTokenException,
    PolicyAdminSyntaxException,
);

impl Exception {
    /// Whether a call on policy refuses a request with it (spec 50 §17).
    pub const fn is_about_policy(self) -> bool {
        matches!(
            self,
            Self::PolicyAdminProtocolException
                | Self::PolicyAdminInvalidFileNameException
                | Self::PolicyAdminInvalidFilePathException
                | Self::PolicyAdminFileNotFoundException
                | Self::PolicyAdminTokenException
                | Self::PolicyAdminSyntaxException
        )
    }

    /// Whether clients put the text through `%` formatting, so that `%` must be doubled (spec 10 §1.6).
    pub const fn is_formatted(self) -> bool {
        !matches!(
            self,
            Self::ProtocolError
                | Self::PermissionDenied
                | Self::QubesVolumeCopyTokenNotFoundError
                | Self::QubesUnrecognizedDeviceAssignmentMode
        )
    }
}

/// A refusal of stage 1 or 2. It cannot tell that something exists: those classes have no constructor here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// None drops the connection.
    exception: Option<Exception>,
    message: Cow<'static, str>,
    raised: &'static Location<'static>,
}

impl Refusal {
    /// A malformed request.
    #[track_caller]
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exception::ProtocolError, message)
    }

    /// Vetoed, or existence must not be shown.
    #[track_caller]
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exception::PermissionDenied, message)
    }

    /// A value that fails to parse.
    #[track_caller]
    pub fn value(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exception::QubesValueError, message)
    }

    #[track_caller]
    fn new(exception: Exception, message: impl Into<Cow<'static, str>>) -> Self {
        Self { exception: Some(exception), message: message.into(), raised: Location::caller() }
    }
}

impl From<Broken> for Refusal {
    #[track_caller]
    fn from(broken: Broken) -> Self {
        let Broken { exception, message } = broken;
        Self { exception, message: message.into(), raised: Location::caller() }
    }
}

/// A failure of stage 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Answered with an EXCEPTION message.
    Exception {
        /// Class on the wire.
        exception: Exception,
        /// Finished text, `%` not doubled yet.
        message: Cow<'static, str>,
        /// Where it was raised, for the debug switch.
        raised: &'static Location<'static>,
    },
    /// Logged locally with this text; the client gets no bytes (spec 10 §1.8).
    Dropped(Cow<'static, str>),
}

impl Failure {
    /// An exception of the given class.
    #[track_caller]
    pub fn new(exception: Exception, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Exception { exception, message: message.into(), raised: Location::caller() }
    }

    /// What it says, for people beside the machine.
    pub fn into_text(self) -> Cow<'static, str> {
        match self {
            Self::Exception { message, .. } => message,
            Self::Dropped(reason) => reason,
        }
    }

    /// An internal failure: logged, never shown.
    pub fn dropped(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Dropped(reason.into())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal { exception, message, raised } = refusal;
        match exception {
            Some(exception) => Self::Exception { exception, message, raised },
            None => Self::Dropped(message),
        }
    }
}

impl From<Short> for Failure {
    #[track_caller]
    fn from(short: Short) -> Self {
        Self::new(Exception::QubesException, format!("Data import failed: {short}"))
    }
}

impl From<Broken> for Failure {
    #[track_caller]
    fn from(broken: Broken) -> Self {
        Refusal::from(broken).into()
    }
}
