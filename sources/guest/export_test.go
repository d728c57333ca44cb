package guest

// OpenExport is openExport.
var OpenExport = openExport
